"""Every situation that the rules must know: real kinds of checkpoints on every GPU."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from layouts import layout
from nvfp4_serve.checkpoint.types import Draft, Experts, Layout
from nvfp4_serve.plan.backends import Target

CAPABILITIES: Final = (
    (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (11, 0), (12, 0), (12, 1),
)  # fmt: skip
UNIFIED: Final = frozenset({(11, 0), (12, 1)})

_SILU: Final = Experts(
    count=128,
    per_token=8,
    intermediate=2048,
    activation="silu",
    gated=True,
    swiglu_limit=None,
)
_CLAMPED: Final = replace(_SILU, swiglu_limit=10.0)
_NEMOTRON: Final = replace(_SILU, activation="relu2_no_mul", gated=False)
_W4A4: Final = {"attention": "NVFP4", "routed_experts": "NVFP4"}
_W4A16: Final = {"attention": "W4A16_NVFP4", "routed_experts": "W4A16_NVFP4"}
_MIXED: Final = {"attention": "FP8+NVFP4", "routed_experts": "NVFP4+W4A16_NVFP4"}
_V4: Final[dict[str, Any]] = {
    "layout": "deepseek-v4",
    "schemes": {"attention": "FP8_BLOCK", "routed_experts": "NVFP4"},
    "experts": _CLAMPED,
    "attention_kind": "deepseek-v4",
}


def _kinds() -> dict[str, dict[str, Any]]:
    """Return what differs from an ordinary checkpoint, by the golden table's names."""
    return {
        "W4A4 dense": {"schemes": {"attention": "NVFP4"}, "experts": None},
        "W4A16 dense": {"schemes": {"attention": "W4A16_NVFP4"}, "experts": None},
        "W4A4": {},
        "W4A4 clamped": {"experts": _CLAMPED},
        "W4A4 not gated": {"experts": _NEMOTRON},
        "W4A4 gelu": {"experts": replace(_SILU, activation="gelu_tanh")},
        "W4A4 swigluoai": {"experts": replace(_SILU, activation="swigluoai")},
        "W4A4 swigluoai, apart": {
            "experts": replace(_CLAMPED, activation="swigluoai_uninterleave"),
        },
        "W4A4 situ": {"experts": replace(_SILU, activation="situ")},
        "W4A16": {"schemes": _W4A16},
        "W4A16 not gated": {"schemes": _W4A16, "experts": _NEMOTRON},
        "mixed": {"schemes": _MIXED},
        "mixed not gated": {"schemes": _MIXED, "experts": _NEMOTRON},
        "compressed-tensors": {"layout": "compressed-tensors"},
        "un-BMM": {"layout": "modelopt-projection-first"},
        "W4A4 uneven": {"input_widths": {"model.layers.0.self_attn.o_proj": 2064}},
        "W4A4 with pictures": {"schemes": {**_W4A4, "vision": "BF16"}},
        "W4A4, FP8 cache": {"schemes": {**_W4A4, "kv_cache": "FP8"}},
        "W4A4, BF16 draft": {"draft": Draft(1, "BF16", "mtp")},
        "latent": {"attention_kind": "latent"},
        "latent-sparse": {"attention_kind": "latent-sparse"},
        "DeepSeek-V4": _V4,
        "DeepSeek-V4, MXFP4 draft": {**_V4, "draft": Draft(1, "MXFP4", "mtp")},
    }


#: Kinds of checkpoints, by the name in the golden table.
KINDS: Final[dict[str, Layout]] = {
    name: layout(**{"experts": _SILU, "schemes": _W4A4, **changes})
    for name, changes in _kinds().items()
}


def targets() -> Iterator[Target]:
    """Yield every GPU, alone and as four that cut the experts or spread them."""
    for capability in CAPABILITIES:
        for gpus, spread in ((1, False), (4, False), (4, True)):
            yield Target(capability, gpus, spread, gpus, capability in UNIFIED)
