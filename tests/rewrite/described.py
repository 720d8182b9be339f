"""Descriptions of one small MoE in several layouts. No values."""

from __future__ import annotations

from nvfp4_layouts.types import Stored

EXPERTS, ROWS, COLS = 3, 64, 96
MODULE = "model.layers.0.mlp.experts"
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
Tensors = dict[str, Stored]


def linear(name: str, rows: int = ROWS, cols: int = COLS) -> Tensors:
    """Return one layer as an export of ModelOpt has it."""
    return {
        f"{name}.weight": Stored("U8", (rows, cols // 2)),
        f"{name}.weight_scale": Stored("F8_E4M3", (rows, cols // 16)),
        f"{name}.weight_scale_2": Stored("F32", ()),
        f"{name}.input_scale": Stored("F32", ()),
    }


def canonical(projections: tuple[str, ...] = PROJECTIONS) -> Tensors:
    """Return all layers as an export has them, and something that is not packed."""
    tensors = {"model.norm.weight": Stored("BF16", (COLS,))}
    for expert in range(EXPERTS):
        for projection in projections:
            down = projection in ("down_proj", "w2")
            sides = (COLS, ROWS) if down else (ROWS, COLS)
            tensors |= linear(f"{MODULE}.{expert}.{projection}", *sides)
    return tensors


def fused(*, columns_first: bool, separator: str, scalar: tuple[int, ...]) -> Tensors:
    """Return the experts in one tensor for each projection."""
    tensors = {"model.norm.weight": Stored("BF16", (COLS,))}
    for projection, rows, cols in (
        ("gate_up_proj", 2 * ROWS, COLS),
        ("down_proj", COLS, ROWS),
    ):
        name = f"{MODULE}.{projection}"
        weight = name if separator == "_" else f"{name}.weight"
        for suffix, dtype, width in (
            (weight, "U8", cols // 2),
            (f"{name}{separator}weight_scale", "F8_E4M3", cols // 16),
        ):
            sides = (width, rows) if columns_first else (rows, width)
            tensors[suffix] = Stored(dtype, (EXPERTS, *sides))
        for suffix in ("weight_scale_2", "input_scale"):
            tensors[f"{name}{separator}{suffix}"] = Stored("F32", scalar)
    return tensors


def compressed_state() -> Tensors:
    """Return what ``save_pretrained`` writes after ``mtq.compress``."""
    names = {
        "weight_scale": "weight_quantizer._scale",
        "weight_scale_2": "weight_quantizer._double_scale",
        "input_scale": "input_quantizer._amax",
    }
    tensors = {}
    for name, stored in canonical().items():
        module, _, suffix = name.rpartition(".")
        tensors[f"{module}.{names.get(suffix, suffix)}"] = stored
        if suffix == "weight_scale":
            tensors[f"{module}.weight_quantizer._amax"] = Stored("F32", ())
    return tensors
