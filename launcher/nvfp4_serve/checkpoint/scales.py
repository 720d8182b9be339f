"""Scales that are missing, of a wrong shape, or at odds with each other. Pure.

Part of ``findings``: what the tensors alone say of the scales, and of which modules the
config wants one.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from nvfp4_serve.checkpoint.encodings import NVFP4, Encoding, weight_of
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.lists import named
from nvfp4_serve.checkpoint.nvfp4 import NVFP4_BLOCK, VALUES_PER_BYTE
from nvfp4_serve.checkpoint.scalars import differ
from nvfp4_serve.checkpoint.types import ModuleGroup, ScalePair
from nvfp4_serve.finding import Finding, Severity

#: Scales of which a weight has one.
_SCALARS: Final = (
    "weight_scale_2", "input_scale", "weight_global_scale", "input_global_scale",
)  # fmt: skip
#: What has a partner in one parameter of vLLM's.
_PAIRED: Final = (".gate_proj", ".w1", ".q_proj")


def input_width(group: ModuleGroup) -> int | None:
    """Return the input features of a packed weight, of which 16 share a block scale.

    Under tensor parallelism a layer that is cut along them has this divided by the
    number of GPUs, and vLLM wants a multiple of 16 still (0.32.0, ``modelopt.py``).
    """
    weight = weight_of(group)
    if weight is None or weight.dtype != "U8" or len(weight.shape) != 2:
        return None
    return weight.shape[-1] * VALUES_PER_BYTE


def input_widths(evidence: Evidence) -> Mapping[str, int]:
    """Return the input features of every NVFP4 weight, by the name of its group."""
    widths = {s.group.name: input_width(s.group) for s in evidence.stored_as(*NVFP4)}
    return {name: width for name, width in widths.items() if width is not None}


def _missing_block_scale(evidence: Evidence) -> Iterator[Finding]:
    seen = tuple(evidence.stored_as(Encoding.NO_BLOCK_SCALE))
    if seen:
        yield Finding(
            "missing-block-scale",
            Severity.ERROR,
            f"{named(seen)} are packed and have no `weight_scale`.",
            "Download the checkpoint again, or export it again.",
        )


def _missing_global_scale(evidence: Evidence) -> Iterator[Finding]:
    for encoding, suffix in (
        (Encoding.MODELOPT_NVFP4, "weight_scale_2"),
        (Encoding.COMPRESSED_NVFP4, "weight_global_scale"),
    ):
        seen = [s for s in evidence.stored_as(encoding) if not s.group.tensor(suffix)]
        if seen:
            yield Finding(
                "missing-global-scale",
                Severity.ERROR,
                f"{named(seen)} are packed NVFP4 and have no `{suffix}`; the "
                "engine would scale them by whatever is in its memory.",
                "Download the checkpoint again, or export it again.",
            )


def _missing_input_scale(evidence: Evidence) -> Iterator[Finding]:
    """Check the claim of W4A4: experts that calibration never reached have no scale.

    Each module by what the config says of it; where that is not known, those without
    a scale by those that have one. vLLM 0.32.0 leaves such scales as they are in
    memory: zeros become inf, then NaN, for some prompts only (vllm#45212, vllm#54189).
    """
    claimed: list[Seen] = []
    untold: list[Seen] = []
    some_have = 0
    for seen in evidence.stored_as(*NVFP4):
        quantizes = seen.expected.quantizes_inputs if seen.expected else None
        if not seen.has_input_scale and quantizes is not False:
            (untold if quantizes is None else claimed).append(seen)
        elif quantizes is None:
            some_have += seen.group.count
    without = [*claimed, *untold] if some_have else claimed
    if not without:
        return
    said = f"{some_have:,} other modules have one"
    if claimed and evidence.claim is not None:
        said = f"`{evidence.claim.file}` claims quantized activations"
    yield Finding(
        "missing-input-scale",
        Severity.ERROR,
        f"{named(without)} have no input scale, and {said}; the engine would take "
        "whatever is in its memory (vllm#45212, vllm#54189).",
        "Calibrate with more data, so that every expert is reached, and export again; "
        "where only weights are quantized, say `W4A16_NVFP4` in the config.",
    )


def _ragged_width(evidence: Evidence) -> Iterator[Finding]:
    """Check the width of packed weights that have block scales which do not fit."""
    seen = [
        s
        for s in evidence.stored_as(Encoding.UNRECOGNISED)
        if s.group.tensor("weight_scale") and (input_width(s.group) or 0) % NVFP4_BLOCK
    ]
    if seen:
        yield Finding(
            "width-not-of-16",
            Severity.ERROR,
            f"{named(seen)} have {input_width(seen[0].group):,} input features, and "
            f"the last block of {NVFP4_BLOCK} is not whole; vLLM does not start.",
            "Leave these modules out of the quantization, and export again.",
        )


def _scalar_shapes(evidence: Evidence) -> Iterator[Finding]:
    """Check scales of which there is one for a weight: [] and [1] are both loaded.

    vLLM 0.32.0 makes a scalar of both (``routed_experts.py`` ``_to_scalar``,
    ``parameter.py``), which older versions did not (vllm#43297), and fails on more.
    """
    for suffix in _SCALARS:
        seen = [s for s in evidence.stored_as(*NVFP4) if _has_several(s.group, suffix)]
        if seen:
            tensor = seen[0].group.tensor(suffix)
            shape = list(tensor.shape) if tensor is not None else []
            yield Finding(
                "scale-shape",
                Severity.ERROR,
                f"`{suffix}` of {named(seen)} has the shape {shape}; it is one value "
                "for a whole weight, and vLLM does not load another.",
                "Export the checkpoint again.",
            )


def _has_several(group: ModuleGroup, suffix: str) -> bool:
    tensor = group.tensor(suffix)
    return tensor is not None and tensor.elements != 1


def _scales_differ(evidence: Evidence) -> Iterator[Finding]:
    """Check scales of weights that vLLM puts into one parameter with one scale.

    vLLM 0.32.0 takes that of the gate for experts and the larger one elsewhere, and
    says "Accuracy may be affected" in its log (``modelopt.py``). The CPU engine of
    this project keeps them apart.
    """
    pairs = evidence.checkpoint.scale_pairs
    if not evidence.encodings & NVFP4:
        return
    if pairs is None:
        packed = evidence.stored_as(*NVFP4)
        if any(s.group.name.endswith(_PAIRED) for s in packed):
            yield Finding(
                "global-scales-not-checked",
                Severity.INFO,
                "Whether gate and up (w1 and w3) have the same global scales is not "
                "checkable from headers.",
                "Download the checkpoint and inspect its folder to have them compared.",
            )
        return
    wrong = [pair for pair in pairs if differ(pair)]
    if wrong:
        worst = max(wrong, key=_ratio)
        yield Finding(
            "global-scales-differ",
            Severity.WARNING,
            f"`{worst.first}` is {worst.one:.4g} and `{worst.second}` {worst.two:.4g} "
            f"({len(wrong):,} of {len(pairs):,} pairs that were read differ). On a GPU "
            "vLLM has one scale for both, so one of the two weights is multiplied by "
            f"up to {_ratio(worst):.3g} too much or too little; it says so in its log "
            "only, and `plan` refuses it there. On the CPU each keeps its own.",
            "Export again with nvidia-modelopt 0.47, which gives both the same scale.",
        )


def _ratio(pair: ScalePair) -> float:
    """Return how many times one is the other; infinite where one is nothing."""
    small, large = sorted((abs(pair.one), abs(pair.two)))
    return large / small if small else float("inf")


SCALES: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _missing_block_scale,
    _missing_global_scale,
    _missing_input_scale,
    _ragged_width,
    _scalar_shapes,
    _scales_differ,
)
