"""Headers that ModelOpt 0.47.0 itself wrote (``tests/data/headers/README.md``)."""

import json
import shutil
from pathlib import Path

import pytest

from checkpoint.builders import write_shard
from layouts import full_attention
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Producer

HEADERS = Path(__file__).parents[1] / "data" / "headers"


def restored(name: str, folder: Path) -> Path:
    """Return the export ``name`` as a checkpoint with a sparse body."""
    for config in (HEADERS / name).glob("*config.json"):
        shutil.copy(config, folder / config.name)
    header = (HEADERS / name / "model.header.json").read_bytes()
    tensors = json.loads(header)
    tensors.pop("__metadata__", None)
    body = max(tensor["data_offsets"][1] for tensor in tensors.values())
    write_shard(folder / "model.safetensors", header, body)
    return folder


@pytest.mark.parametrize(
    ("name", "scheme", "kv_cache", "file_bytes"),
    [
        ("modelopt-0.47.0-nvfp4", "NVFP4", None, 220_136),
        ("modelopt-0.47.0-w4a16", "W4A16_NVFP4", None, 216_720),
        ("modelopt-0.47.0-fp8-kv", "NVFP4", "FP8", 220_528),
    ],
)
def test_recognises_an_export_of_modelopt(
    tmp_path: Path, name: str, scheme: str, kv_cache: str | None, file_bytes: int
) -> None:
    folder = restored(name, tmp_path)

    layout = read_layout(read_checkpoint(str(folder)))

    header = (HEADERS / name / "model.header.json").stat().st_size
    assert layout.layout == "modelopt-per-expert"
    assert layout.findings == ()
    assert layout.schemes["attention"] == layout.schemes["routed_experts"] == scheme
    assert layout.schemes.get("kv_cache") == kv_cache
    assert layout.producer == Producer("modelopt", "0.47.0")
    assert layout.kv == full_attention(layers=2, heads=2, head_dim=32)
    # The size of the file that was exported, and the parameters of the model itself.
    assert layout.weight_bytes == file_bytes - 8 - header
    assert layout.parameters == 234_848
