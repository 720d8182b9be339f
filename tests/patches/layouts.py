"""The example checkpoint in every layout, in one folder."""

from __future__ import annotations

from pathlib import Path

from patches.rearranged import (
    copy_as,
    fused,
    leaked,
    projection_first,
    quantizer_state,
    same_scales_for_gate_and_up,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sonnet-18-nvfp4"
LAYOUTS = {
    "projection-first": projection_first,
    "fused-D1": fused(columns_first=True, separator="_"),
    "fused-D2": fused(columns_first=False, separator="_"),
    "fused-D2-points": fused(columns_first=False, separator="."),
    "state": quantizer_state,
    "leaked": leaked,
}


def make_layouts(folder: Path) -> Path:
    """Write ``known`` and one folder for each layout; return ``folder``."""
    known = copy_as(EXAMPLE, folder / "known", same_scales_for_gate_and_up)
    for name, change in LAYOUTS.items():
        copy_as(known, folder / name, change)
    return folder
