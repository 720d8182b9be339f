"""The plugin: exact arithmetic, bad scales refused by name, nothing off the CPU."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patches.plain_twin import plain_float32, to_bfloat16

pytestmark = pytest.mark.engine

_HERE = Path(__file__).resolve().parent
#: Rows and columns; 16 is the smallest a block allows, and none is a power of two.
_SHAPES = ((1, 16), (3, 48), (7, 1040), (130, 80))


def _cases() -> list[tuple[Any, Any, Any]]:
    """Return packed codes, E4M3 codes and a global scale for each row."""
    random = np.random.default_rng(11)
    # Every pair of codes under every block scale that is not NaN.
    scales = np.array([code for code in range(256) if code & 127 != 127], np.uint8)
    packed = np.tile(np.arange(256, dtype=np.uint8), (len(scales), 1))
    cases = [(packed, np.repeat(scales[:, None], 32, axis=1), _global(len(scales)))]
    for rows, cols in _SHAPES:
        codes = random.integers(0, 256, (rows, cols // 2), dtype=np.uint8)
        blocks = random.choice(scales, (rows, cols // 16))
        cases.append((codes, blocks, _global(rows)))
    return cases


def _global(rows: int) -> Any:
    return np.random.default_rng(rows).uniform(1e-5, 3e-3, rows).astype(np.float32)


@pytest.fixture(scope="module")
def seen(patched: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plugin")
    arrays = {}
    for number, case in enumerate(_cases()):
        for name, array in zip(("packed", "block", "global"), case, strict=True):
            arrays[f"{name}_{number}"] = array
    np.savez(folder / "cases.npz", **arrays)
    done = subprocess.run(
        [patched, "-I", str(_HERE / "plugin_probes.py"), "cases.npz", "report.json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return told


@pytest.mark.parametrize("how", ["dequantised", "dequantised in pieces"])
def test_dequantises_to_the_very_bits_of_our_own_arithmetic(
    seen: dict[str, Any], how: str
) -> None:
    for case, text in zip(_cases(), seen[how], strict=True):
        wanted = to_bfloat16(plain_float32(*case))

        found = np.frombuffer(base64.b64decode(text), np.uint16).reshape(wanted.shape)

        np.testing.assert_array_equal(found, wanted)


def test_registers_on_the_cpu(seen: dict[str, Any]) -> None:
    found = seen["registered"]["CPU"]

    assert found[0] == "CpuDequantizedNvFp4LinearKernel"
    assert "Nvfp4CPUUnquantizedExperts" in found
    assert len(found) == len(set(found))


@pytest.mark.parametrize("platform", ["CUDA", "ROCM", "XPU", "TPU", "OOT"])
def test_registers_nothing_on_another_platform(
    seen: dict[str, Any], platform: str
) -> None:
    assert seen["registered"][platform] == []


def test_the_kernel_itself_says_no_on_another_platform(seen: dict[str, Any]) -> None:
    assert seen["elsewhere"] == [False, "it serves the CPU platform only"]


def test_each_shard_has_its_own_global_scale_and_the_bias_is_added(
    seen: dict[str, Any],
) -> None:
    # Code 2 is 1.0; block scales are 1; the shards' scales 0.25 and 0.5; the bias 1.
    assert seen["linear"]["right"] == "loaded: [1.25, 1.5]"


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("block scale", "weight_scale: 1 of 192 values are NaN or were never loaded"),
        ("global scale nan", "weight_scale_2 (by shard): [1] = nan"),
        ("global scale zero", "weight_scale_2 (by shard): [0] = 0"),
        ("input scale", "input_scale: [0] = inf"),
    ],
)
def test_a_bad_scale_of_a_linear_layer_is_refused_by_name(
    seen: dict[str, Any], case: str, says: str
) -> None:
    assert says in seen["linear"][case]
    assert "model.layers.0.self_attn.qkv_proj" in seen["linear"][case]
    assert "Fix: " in seen["linear"][case]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("never loaded", "w2_weight_scale_2 (by expert): [1] = nan"),
        ("block scale", "w13_weight_scale: 1 of 512 values are NaN"),
        ("input scale", "w13_input_scale (by expert): [0] = -1"),
    ],
)
def test_a_bad_scale_of_experts_is_refused_by_name(
    seen: dict[str, Any], case: str, says: str
) -> None:
    assert seen["experts"]["right"] == "accepted"
    assert says in seen["experts"][case]
    assert "model.layers.3.mlp.experts" in seen["experts"][case]
