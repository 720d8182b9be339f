"""The headers that each producer itself wrote, without an engine or a producer."""

import json
import shutil
from pathlib import Path

import pytest

from checkpoint.builders import write_shard
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from twins.environments import ROOT

_HEADERS = ROOT / "tests" / "data" / "headers"
_LAYOUTS = {
    "llm-compressor-0.14.0.1-nvfp4": "compressed-tensors",
    "llm-compressor-0.14.0.1-nvfp4a16": "compressed-tensors",
    "modelopt-0.37.0-compressed-export": "modelopt-compressed-export",
    "modelopt-0.37.0-state-dict": "modelopt-state-dict",
    "modelopt-0.43.0-qwen3-vl-moe": "modelopt-projection-first",
    "modelopt-0.47.0-deepseek-v3": "modelopt-per-expert",
    "modelopt-0.47.0-gemma-4": "modelopt-per-expert",
    "modelopt-0.47.0-gpt-oss": "modelopt-fused",
    "modelopt-0.47.0-llama-4": "modelopt-fused",
    "modelopt-0.47.0-minimax-m2": "modelopt-per-expert",
    "modelopt-0.47.0-nemotron-h": "modelopt-per-expert",
    "modelopt-0.47.0-qwen3.5-moe": "modelopt-per-expert",
}
#: What is to be refused, and how its finding begins.
_REFUSED = {
    "modelopt-0.37.0-compressed-export": "destroyed-block-scales",
    "modelopt-0.47.0-gpt-oss": "",
}


def _layout(name: str, folder: Path) -> Layout:
    for config in _HEADERS.joinpath(name).glob("*config.json"):
        shutil.copy(config, folder)
    header = (_HEADERS / name / "model.header.json").read_bytes()
    tensors = json.loads(header)
    tensors.pop("__metadata__", None)
    body = max(tensor["data_offsets"][1] for tensor in tensors.values())
    write_shard(folder / "model.safetensors", header, body)
    return read_layout(read_checkpoint(str(folder)))


@pytest.mark.parametrize(("name", "layout"), _LAYOUTS.items(), ids=_LAYOUTS)
def test_an_export_is_called_by_its_layout(
    name: str, layout: str, tmp_path: Path
) -> None:
    assert _layout(name, tmp_path).layout == layout


@pytest.mark.parametrize("name", [name for name in _LAYOUTS if name not in _REFUSED])
def test_an_export_that_is_whole_may_be_served(name: str, tmp_path: Path) -> None:
    found = _layout(name, tmp_path)

    assert found.servable, found.findings


@pytest.mark.parametrize(("name", "finding"), _REFUSED.items(), ids=_REFUSED)
def test_an_export_that_no_engine_reads_right_is_refused(
    name: str, finding: str, tmp_path: Path
) -> None:
    found = _layout(name, tmp_path)

    assert not found.servable
    assert any(f.id.startswith(finding) for f in found.findings)


def test_the_state_dict_gets_the_config_that_its_producer_did_not_write(
    tmp_path: Path,
) -> None:
    found = _layout("modelopt-0.37.0-state-dict", tmp_path)

    assert found.overlay is not None
    assert found.overlay.quantization_config["quant_algo"] == "NVFP4"
    assert found.rewrites == ("quantizer-state",)
