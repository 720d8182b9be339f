"""The tensors of ``builders`` under the names of other layouts."""

import re
from collections.abc import Callable

from checkpoint.builders import Stored, Tensors, modelopt_moe

_EXPERT = re.compile(r"\.experts\.(\d+)\.(\w+_proj)\.")
_STATE = {
    "weight_scale": ("weight_quantizer._scale",),
    "weight_scale_2": ("weight_quantizer._double_scale", "weight_quantizer._amax"),
    "input_scale": ("input_quantizer._amax",),
}


def projection_first(tensors: Tensors, *, only: str = "") -> dict[str, Stored]:
    """Return B: ``experts.down_proj.1`` for ``experts.1.down_proj``."""
    return {
        _EXPERT.sub(r".experts.\2.\1.", name) if only in name else name: tensor
        for name, tensor in tensors.items()
    }


def packed_names(tensors: Tensors) -> dict[str, Stored]:
    """Return packed weights as ``weight_packed``, beside the scales of ModelOpt."""
    return {
        f"{name}_packed" if tensor[0] == "U8" else name: tensor
        for name, tensor in tensors.items()
    }


def state_dict(tensors: Tensors) -> dict[str, Stored]:
    """Return C2: the scales as the state of quantizers."""
    made: dict[str, Stored] = {}
    for name, (dtype, shape) in tensors.items():
        module, _, suffix = name.rpartition(".")
        for state in _STATE.get(suffix, (suffix,)):
            kind = "BF16" if state.endswith("_amax") else dtype
            made[f"{module}.{state}"] = (kind, shape)
    return made


def fused_moe(*, transposed: bool, separator: str = "_") -> dict[str, Stored]:
    """Return D1 (``transposed``) or D2 of ``modelopt_moe`` with its 3 experts."""
    tensors = {n: t for n, t in modelopt_moe().items() if ".experts." not in n}
    for name, rows, cols in (("gate_up_proj", 96, 96), ("down_proj", 96, 48)):
        module = f"model.layers.0.mlp.experts.{name}"
        weight = module if separator == "_" else f"{module}.weight"
        for stored, dtype, wide in (
            (weight, "U8", cols // 2),
            (f"{module}{separator}weight_scale", "F8_E4M3", cols // 16),
        ):
            shape = (3, wide, rows) if transposed else (3, rows, wide)
            tensors[stored] = (dtype, shape)
        for scalar in ("weight_scale_2", "input_scale"):
            tensors[f"{module}{separator}{scalar}"] = ("F32", ())
    return tensors


def named_packed(tensors: Tensors) -> dict[str, Stored]:
    """Return fused weights as ``weight_packed``, beside the scales of ModelOpt."""
    return {
        name + ("_packed" if name.endswith(".weight") else "_weight_packed")
        if tensor[0] == "U8"
        else name: tensor
        for name, tensor in tensors.items()
    }


def with_experts_apart(
    tensors: Tensors, expert: int, change: Callable[[Tensors], dict[str, Stored]]
) -> dict[str, Stored]:
    """Return ``tensors`` with one expert under other names."""
    own = {n: t for n, t in tensors.items() if f".experts.{expert}." in n}
    rest = {n: t for n, t in tensors.items() if n not in own}
    return rest | change(own)
