"""Real ModelOpt exports on the real patched engine, against their plain twins.

The twin holds the weights dequantised by our own arithmetic, in bf16, and runs on the
same engine. After loading, both are the same model: tolerance 0 on every logprob.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from patches.plain_twin import (
    make_plain_twin,
    read_safetensors,
    write_safetensors,
)

pytestmark = [pytest.mark.engine, pytest.mark.producer]

_HERE = Path(__file__).resolve().parent
_KINDS = ("moe-w4a4", "moe-w4a16", "moe-w4a4-kv8", "dense-w4a4", "dense-w4a16")
#: A key and value in FP8 E4M3 keeps 3 bits after the point: 1/16 of a value at most.
#: On these models the logprobs were seen to move by 0.5 at most, of a spread of 1.8.
_KV8_TOLERANCE = 1.0

#: Name of a broken copy of moe-w4a4: the tensor that is taken out of it.
_BROKEN = {
    "no-expert-block-scale": "model.layers.1.mlp.experts.3.up_proj.weight_scale",
    "no-expert-global-scale": "model.layers.0.mlp.experts.2.down_proj.weight_scale_2",
    "no-expert-input-scale": "model.layers.0.mlp.experts.5.gate_proj.input_scale",
    "no-linear-block-scale": "model.layers.1.self_attn.o_proj.weight_scale",
    "no-linear-global-scale": "model.layers.0.self_attn.k_proj.weight_scale_2",
    "no-linear-input-scale": "model.layers.0.self_attn.q_proj.input_scale",
}


@pytest.fixture(scope="module")
def answers(
    patched: str, producer: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("on_cpu")
    maker = str(_HERE / "make_checkpoints.py")
    _run([producer, maker, str(folder), *_KINDS], folder)
    for kind in _KINDS:
        make_plain_twin(folder / kind, folder / f"{kind}-plain")
    _scale_shards_apart(folder / "dense-w4a4", folder / "dense-shards")
    make_plain_twin(folder / "dense-shards", folder / "dense-shards-plain")
    for name, tensor in _BROKEN.items():
        _copy_without(folder / "moe-w4a4", folder / name, tensor)
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    requests = [{"name": name, "model": name, "flags": {}} for name in names]
    plain_kv = {"kv_cache_dtype": "bfloat16"}
    requests += [{"name": "no-kv8", "model": "moe-w4a4-kv8", "flags": plain_kv}]
    (folder / "requests.json").write_text(json.dumps(requests))
    asker = str(_HERE / "ask_engine.py")
    _run([patched, "-I", asker, "requests.json", "answers.json"], folder)
    told: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return told


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _copy_without(source: Path, target: Path, tensor: str) -> None:
    target.mkdir()
    (target / "config.json").write_text((source / "config.json").read_text())
    tensors = read_safetensors(source / "model.safetensors")
    del tensors[tensor]
    write_safetensors(target / "model.safetensors", tensors)


def _scale_shards_apart(source: Path, target: Path) -> None:
    """Copy a checkpoint, with another global scale for each k_proj and up_proj."""
    target.mkdir()
    (target / "config.json").write_text((source / "config.json").read_text())
    tensors = read_safetensors(source / "model.safetensors")
    for name, (dtype, shape, data) in tensors.items():
        if name.endswith(("k_proj.weight_scale_2", "up_proj.weight_scale_2")):
            # Half of it: the exponent of the little-endian float32 less one.
            bits = int.from_bytes(data, "little") - (1 << 23)
            tensors[name] = (dtype, shape, bits.to_bytes(4, "little"))
    write_safetensors(target / "model.safetensors", tensors)


def _logprobs(answers: dict[str, Any], name: str) -> list[dict[str, float]]:
    assert "error" not in answers[name], answers[name]["error"]
    return [position for prompt in answers[name]["logprobs"] for position in prompt]


@pytest.mark.parametrize(
    "kind", ["moe-w4a4", "moe-w4a16", "dense-w4a4", "dense-w4a16", "dense-shards"]
)
def test_is_its_plain_twin_to_the_last_bit(answers: dict[str, Any], kind: str) -> None:
    assert _logprobs(answers, kind) == _logprobs(answers, f"{kind}-plain")


def test_other_scales_are_another_model(answers: dict[str, Any]) -> None:
    assert _logprobs(answers, "dense-shards") != _logprobs(answers, "dense-w4a4")


def test_an_fp8_kv_cache_is_used_and_stays_near(answers: dict[str, Any]) -> None:
    plain = _logprobs(answers, "moe-w4a4-kv8-plain")
    with_fp8 = _logprobs(answers, "moe-w4a4-kv8")

    # Only what comes before new tokens: those may differ after a close decision.
    apart = [
        abs(here[token] - there[token])
        for here, there in zip(with_fp8[:6], plain[:6], strict=True)
        for token in here.keys() & there.keys()
    ]
    assert 0 < max(apart) < _KV8_TOLERANCE


def test_the_same_checkpoint_with_a_plain_kv_cache_is_its_twin(
    answers: dict[str, Any],
) -> None:
    assert _logprobs(answers, "no-kv8") == _logprobs(answers, "moe-w4a4-kv8-plain")


@pytest.mark.parametrize("name", _BROKEN)
def test_a_missing_scale_is_refused_and_its_layer_named(
    answers: dict[str, Any], name: str
) -> None:
    error = answers[name].get("error", "it was loaded")

    if name == "no-linear-block-scale":
        # vLLM's own check is first here; it does not know the layer's name.
        assert "was never loaded" in error
    else:
        layer = ".".join(_BROKEN[name].split(".")[:4])
        assert layer in error
        assert "cannot be right" in error
