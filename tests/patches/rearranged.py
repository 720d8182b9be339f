"""A canonical checkpoint, rearranged into the layouts that other producers write."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from patches.plain_twin import read_safetensors, write_safetensors

Tensor = tuple[str, list[int], bytes]
Tensors = dict[str, Tensor]
_EXPERT = re.compile(r"^(.*\.experts)\.(\d+)\.(\w+)\.(\w+)$")
_NUMPY = {"U8": np.uint8, "F8_E4M3": np.uint8, "F32": np.float32}


def projection_first(tensors: Tensors) -> Tensors:
    """Return `experts.PROJECTION.N` for `experts.N.PROJECTION` (vllm#40885)."""
    return {_EXPERT.sub(r"\1.\3.\2.\4", name): each for name, each in tensors.items()}


def fused(*, columns_first: bool, separator: str) -> Callable[[Tensors], Tensors]:
    """Return what puts all experts into one tensor for each projection."""

    def fuse(tensors: Tensors) -> Tensors:
        found: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
        made: Tensors = {}
        for name, (dtype, shape, data) in tensors.items():
            match = _EXPERT.match(name)
            if match is None:
                made[name] = (dtype, shape, data)
                continue
            array = np.frombuffer(data, _NUMPY[dtype]).reshape(shape)
            module, number, projection, suffix = match.groups()
            found.setdefault((module, projection, suffix), {})[int(number)] = array
        for (module, projection, suffix), experts in found.items():
            if projection == "up_proj":
                continue
            stack = [experts[index] for index in range(len(experts))]
            name = projection
            if projection == "gate_proj":
                name = "gate_up_proj"
                stack = _with_up(stack, found[module, "up_proj", suffix])
            whole = np.stack(stack)
            if whole.ndim == 3 and columns_first:
                whole = np.ascontiguousarray(whole.transpose(0, 2, 1))
            stored = f"{module}.{name}{separator}{suffix}"
            if suffix == "weight" and separator == "_":
                stored = f"{module}.{name}"
            made[stored] = (_DTYPES[suffix], list(whole.shape), whole.tobytes())
        return made

    return fuse


_DTYPES = {
    "weight": "U8",
    "weight_scale": "F8_E4M3",
    "weight_scale_2": "F32",
    "input_scale": "F32",
}


def _with_up(gate: list[np.ndarray], up: dict[int, np.ndarray]) -> list[np.ndarray]:
    if gate[0].ndim == 0:
        # One value for both halves: what a producer of fused experts has.
        assert all(each == up[index] for index, each in enumerate(gate))
        return gate
    return [np.concatenate([each, up[index]]) for index, each in enumerate(gate)]


def same_scales_for_gate_and_up(tensors: Tensors) -> Tensors:
    """Return the checkpoint with the scalars of each gate for its up, too."""
    return {
        name: tensors[name.replace(".up_proj.", ".gate_proj.")]
        if name.endswith(("up_proj.weight_scale_2", "up_proj.input_scale"))
        else each
        for name, each in tensors.items()
    }


def quantizer_state(tensors: Tensors) -> Tensors:
    """Return what ``save_pretrained`` keeps of a model after ``mtq.compress``."""
    names = {
        "weight_scale": "weight_quantizer._scale",
        "weight_scale_2": "weight_quantizer._double_scale",
        "input_scale": "input_quantizer._amax",
    }
    made: Tensors = {}
    for name, each in tensors.items():
        module, _, suffix = name.rpartition(".")
        stored = each
        if suffix == "input_scale":
            stored = ("F32", [], _amax(np.frombuffer(each[2], np.float32)[0]))
        made[f"{module}.{names.get(suffix, suffix)}"] = stored
    return made


def _amax(scale: np.float32) -> bytes:
    """Return the range whose scale is ``scale``, to the last bit."""
    divisor = np.float32(6 * 448)
    near = np.float32(scale * divisor)
    steps = [near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(9))]
    (amax, *_) = [each for each in steps if each / divisor == scale]
    return np.float32(amax).tobytes()


def leaked(tensors: Tensors) -> Tensors:
    """Return what nvidia-modelopt <= 0.45 exports after ``mtq.compress``."""
    made: Tensors = {}
    for name, (dtype, shape, data) in tensors.items():
        made[name] = (dtype, shape, data)
        if name.endswith(".weight_scale"):
            half = np.frombuffer(data, np.uint8).reshape(shape)[:, ::2]
            made[name] = (dtype, list(half.shape), half.tobytes())
            module = name.removesuffix(".weight_scale")
            leak: Tensor = ("F32", [], np.float32(1).tobytes())
            made[f"{module}.weight_quantizer._double_scale"] = leak
    return made


def copy_as(source: Path, target: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """Write ``source`` to ``target``, its tensors changed."""
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns("*.safetensors", "hf_quant*")
    )
    tensors = change(read_safetensors(source / "model.safetensors"))
    write_safetensors(target / "model.safetensors", tensors)
    return target


def say_legacy_w4a16(folder: Path) -> None:
    """Leave hf_quant_config.json alone to say what is quantized, and how."""
    config = json.loads((folder / "config.json").read_text())
    ignore = config.pop("quantization_config")["ignore"]
    (folder / "config.json").write_text(json.dumps(config))
    legacy = {
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {
            "quant_algo": "W4A16_NVFP4",
            "kv_cache_quant_algo": None,
            "group_size": 16,
            "exclude_modules": ignore,
        },
    }
    (folder / "hf_quant_config.json").write_text(json.dumps(legacy))
