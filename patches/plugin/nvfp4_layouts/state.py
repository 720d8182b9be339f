"""The state of ModelOpt's quantizers, under the names of an export. Pure.

``save_pretrained`` of a model after ``mtq.compress`` keeps this state, and nothing of
it is lost. An *export* of such a model by nvidia-modelopt <= 0.45 keeps a part of it
beside block scales made from the packed bytes: that one is refused (vllm#38980).

No value changes but two: an input scale is ``amax / (6 * 448)`` and a KV scale
``amax / 448``. Source: nvidia-modelopt 0.37.0, ``export/quant_utils.py``.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from nvfp4_layouts.names import QUANTIZER
from nvfp4_layouts.types import Piece, RewriteError, Stored

#: The largest E2M1 value by the largest E4M3 value.
INPUT_SCALE_DIVISOR: Final = 6.0 * 448.0
#: The largest E4M3 value.
KV_SCALE_DIVISOR: Final = 448.0
_BLOCK: Final = 16
_KV: Final = {
    "k_bmm_quantizer": "k_proj.k_scale",
    "v_bmm_quantizer": "v_proj.v_scale",
}


def name_state(
    tensors: Mapping[str, Stored],
) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    """Yield what becomes of each tensor of a quantizer.

    Raises:
        RewriteError: Some of it has no place in an export, or does not fit.
    """
    unknown: list[str] = []
    for name, stored in tensors.items():
        found = QUANTIZER.match(name) if "_quantizer" in name else None
        if found is None:
            continue
        made = _of_state(tensors, stored, found[1] or "", found[2], found[3])
        if made is None:
            unknown.append(f"{name} {stored}")
        else:
            yield name, made
    if unknown:
        raise RewriteError(
            f"{len(unknown):,} tensors hold the state of a quantizer, and there is no "
            "packed weight with both of its scales that they belong to.",
            evidence=unknown[:4],
            fix="An export should have turned them into scales. Export it again with "
            "nvidia-modelopt 0.46 or newer, from the original weights.",
        )


def _of_state(
    tensors: Mapping[str, Stored],
    stored: Stored,
    module: str,
    quantizer: str,
    suffix: str,
) -> tuple[Piece, ...] | None:
    """Return what becomes of one tensor of a quantizer; None: it is not known."""
    made: tuple[Piece, ...] | None = None
    if quantizer in _KV and suffix == "_amax" and stored.is_scalar:
        name = f"{module}.{_KV[quantizer]}"
        made = (Piece(name, "F32", (), divisor=KV_SCALE_DIVISOR),)
    elif has_true_scales(tensors, module):
        match quantizer, suffix:
            case "weight_quantizer", "_scale":
                made = (Piece(f"{module}.weight_scale", stored.dtype, stored.shape),)
            case "weight_quantizer", "_double_scale":
                made = (Piece(f"{module}.weight_scale_2", "F32", ()),)
            case "weight_quantizer", "_amax":
                made = ()
            case "input_quantizer", "_amax" if stored.is_scalar:
                name = f"{module}.input_scale"
                made = (Piece(name, "F32", (), divisor=INPUT_SCALE_DIVISOR),)
            case _:
                pass
    return made


def has_true_scales(tensors: Mapping[str, Stored], module: str) -> bool:
    """Return whether a packed weight has the state of its quantizer beside it.

    Both kinds of scale, the block scales as wide as the weight, and not those of an
    export too.
    """
    weight = tensors.get(f"{module}.weight")
    block = tensors.get(f"{module}.weight_quantizer._scale")
    whole = tensors.get(f"{module}.weight_quantizer._double_scale")
    if weight is None or block is None or whole is None:
        return False
    return (
        weight.dtype == "U8"
        and block.dtype == "F8_E4M3"
        and whole.dtype == "F32"
        and whole.is_scalar
        and f"{module}.weight_scale" not in tensors
        and len(weight.shape) == len(block.shape) == 2
        and weight.shape[0] == block.shape[0]
        and weight.shape[1] * 2 == block.shape[1] * _BLOCK
    )
