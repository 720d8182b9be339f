"""Checkpoints whose config is wrong, served by the real engine; 20 s each.

The gate asks for the canary's text: `serve --detach` ends with 0 only where the
engine's answers are right.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import managed_engine
from nvfp4_serve.runtime.instances import list_instances
from stand_in import free_port
from twins.checkpoint_weights import Stored, read_tensors, read_weights
from twins.corruption import write_shard

pytestmark = pytest.mark.engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"
_INPUT_SCALE = re.compile(r"\.input_scale$")
_EXPERT = re.compile(r"\.experts\.(\d+)\.(\w+_proj)\.")


@pytest.fixture(autouse=True)
def _engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    managed_engine()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def no_config(folder: Path) -> None:
    """Leave out all that speaks of a quantization."""
    (folder / "hf_quant_config.json").unlink()
    _change_config(folder, lambda config: config.pop("quantization_config"))


def no_input_scales(folder: Path) -> None:
    """Leave the input scales out; the config still says that there are some."""
    tensors = read_tensors(folder).items()
    kept = {name: tensor for name, tensor in tensors if not _INPUT_SCALE.search(name)}
    write_shard(folder / "model.safetensors", kept)


def one_plain_layer(folder: Path) -> None:
    """Store one layer unpacked; `ignore` does not name it."""
    (folder / "hf_quant_config.json").unlink()
    module = "model.layers.1.self_attn.o_proj."
    values = read_weights(folder).tensors[f"{module}weight"]
    # The upper half of a float32 is a bfloat16.
    halves = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(
        np.uint16
    )
    tensors = {n: t for n, t in read_tensors(folder).items() if module not in n}
    tensors[f"{module}weight"] = Stored("BF16", halves)
    write_shard(folder / "model.safetensors", tensors)


def router_not_ignored(folder: Path) -> None:
    """Say of a router that it is packed; it never is."""
    (folder / "hf_quant_config.json").unlink()
    gate = "model.layers.1.mlp.gate"
    _change_config(folder, lambda c: c["quantization_config"]["ignore"].remove(gate))


def projection_first(folder: Path) -> None:
    """Name the projection before the number, and speak of no quantization."""
    no_config(folder)
    tensors = read_tensors(folder).items()
    renamed = {
        _EXPERT.sub(r".experts.\2.\1.", name): tensor for name, tensor in tensors
    }
    write_shard(folder / "model.safetensors", renamed)


def _change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("spoil", "flags", "shows"),
    [
        pytest.param(no_config, (), "quantization=modelopt_fp4", id="no-config"),
        pytest.param(no_input_scales, (), "W4A16", id="no-input-scales"),
        pytest.param(
            one_plain_layer, (), "quantization=modelopt_fp4", id="one-plain-layer"
        ),
        pytest.param(
            router_not_ignored, (), "quantization=modelopt_fp4", id="router-not-ignored"
        ),
        pytest.param(
            projection_first,
            ("--", "--hf-overrides", '{"max_position_embeddings": 2048}'),
            "tensors are shown to vLLM under the layout that it knows",
            id="foreign-names-and-the-users-own-keys",
        ),
    ],
)
def test_what_the_tensors_say_is_served_right(
    tmp_path: Path, spoil: Callable[[Path], None], flags: tuple[str, ...], shows: str
) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "model")
    spoil(folder)

    done = run(
        "serve", str(folder), "--detach", "--yes", "--port", str(free_port()), *flags
    )

    try:
        assert done.returncode == 0, done.stderr
        assert "right after" in done.stderr
        (instance,) = list_instances()
        log = Path(instance.log).read_text(errors="replace")
        assert shows in log
        assert ("max_position_embeddings" in log) == bool(flags)
    finally:
        run("stop")
