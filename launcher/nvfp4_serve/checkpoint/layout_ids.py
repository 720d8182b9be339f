"""Which layout a checkpoint has: an ordered table, of which the first line holds. Pure.

The tensors decide, never the config.
"""

import re
from collections.abc import Callable
from typing import Final

from nvfp4_serve.checkpoint.encodings import FOREIGN, NVFP4, Encoding, is_linear
from nvfp4_serve.checkpoint.evidence import Evidence

UNKNOWN: Final = "unknown"
_FP8: Final = (Encoding.FP8, Encoding.FP8_BLOCK)
#: DeepSeek-V4's own names: no ``mlp``, no ``_proj``.
_NATIVE: Final = re.compile(r"(^|\.)ffn\.experts\.\*\.w[123]$")


def layout_id(evidence: Evidence) -> str:
    """Return the id of the layout."""
    return next(name for name, holds in _LAYOUTS if holds(evidence))


def _stores(*encodings: Encoding) -> Callable[[Evidence], bool]:
    """Return whether some module is stored so, whatever becomes of it."""
    return lambda e: not ({*encodings}.isdisjoint(e.encodings | e.loaded.stored))


def _carries(*suffixes: str) -> Callable[[Evidence], bool]:
    return lambda e: any(
        seen.group.tensor(suffix) for seen in e.seen for suffix in suffixes
    )


def _is_native(evidence: Evidence) -> bool:
    """Return whether NVFP4 experts have DeepSeek-V4's own names."""
    return any(
        _NATIVE.search(seen.group.name)
        for seen in evidence.stored_as(Encoding.MODELOPT_NVFP4)
    )


def _is_mixed(evidence: Evidence) -> bool:
    """Return whether some linear layers are NVFP4 and some FP8."""
    if Encoding.MODELOPT_NVFP4 not in evidence.encodings:
        return False
    return any(is_linear(s.group) for s in evidence.stored_as(*_FP8, Encoding.MXFP4))


_LAYOUTS: Final[tuple[tuple[str, Callable[[Evidence], bool]], ...]] = (
    ("modelopt-compressed-export", _stores(Encoding.DESTROYED)),
    (UNKNOWN, _stores(Encoding.UNRECOGNISED)),
    (UNKNOWN, lambda e: e.encodings >= NVFP4),
    ("modelopt-svdquant", _carries("svdquant_lora_a", "svdquant_lora_b")),
    ("modelopt-awq", _carries("pre_quant_scale")),
    ("modelopt-state-dict", lambda e: "quantizer-state" in e.loaded.kinds),
    ("modelopt-fused", _stores(Encoding.FUSED)),
    ("modelopt-projection-first", _stores(Encoding.PROJECTION_FIRST)),
    (UNKNOWN, lambda e: bool(e.encodings & FOREIGN)),
    ("deepseek-v4", _is_native),
    ("modelopt-mixed", _is_mixed),
    ("modelopt-per-expert", _stores(Encoding.MODELOPT_NVFP4)),
    ("compressed-tensors", _stores(Encoding.COMPRESSED_NVFP4)),
    (UNKNOWN, _stores(Encoding.NO_BLOCK_SCALE)),
    ("mxfp4", _stores(Encoding.MXFP4)),
    ("fp8", _stores(*_FP8)),
    ("unquantized", lambda _: True),
)

#: Every id that a layout can have.
LAYOUT_IDS: Final = frozenset(name for name, _ in _LAYOUTS)
