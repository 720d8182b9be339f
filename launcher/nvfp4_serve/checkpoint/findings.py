"""What a user should know of a checkpoint: the tensors, held against the claim. Pure.

Each check reads the evidence and yields what it finds. To add one, write it and name
it in ``_CHECKS``. An ``ERROR`` is only for what would crash or answer wrong.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from nvfp4_serve.checkpoint.contradictions import CONTRADICTIONS
from nvfp4_serve.checkpoint.encodings import NVFP4, Encoding, is_kv_scale
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.mismatches import MISMATCHES
from nvfp4_serve.checkpoint.types import Finding, Severity

_ORDER: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_EXPORT_AGAIN: Final = (
    "Export it again with nvidia-modelopt 0.46 or newer, from the original weights."
)
#: What is done about each kind of ``nvfp4_layouts.rewrite``.
_RENAMED: Final = {
    "projection-first": "The experts name the projection before the number "
    "(`experts.up_proj.0`), and vLLM looks for the number first (vllm#40885); the "
    "engine is given them under the names that it knows.",
    "quantizer-state": "The scales are stored as the state of ModelOpt's quantizers, "
    "which `save_pretrained` keeps and an export renames (vllm#38980); nothing is "
    "lost, and the engine is given them under the names of an export.",
    "fused": "All experts of a projection are in one packed tensor, and vLLM finds no "
    "place for its scales (vllm#49638); the engine is given one tensor for each "
    "expert.",
    "packed-name": "Weights have the name of compressed-tensors (`weight_packed`) "
    "and scales those of ModelOpt (`weight_scale_2`); the engine is given the weights "
    "as `weight`.",
}
_REPAIR: Final = (
    "Nothing has to be done; `nvfp4-serve repair SRC DST` writes a copy that any "
    "engine can load."
)


def find(evidence: Evidence) -> tuple[Finding, ...]:
    """Return everything that is to be said, worst first."""
    found = [*evidence.checkpoint.notes]
    for check in (*_CHECKS, *MISMATCHES, *CONTRADICTIONS):
        found.extend(check(evidence))
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def _destroyed_scales(evidence: Evidence) -> Iterator[Finding]:
    seen = tuple(evidence.stored_as(Encoding.DESTROYED))
    if seen:
        yield Finding(
            "destroyed-block-scales",
            Severity.ERROR,
            f"{_modules(seen)} have one block scale for 32 values where NVFP4 has "
            "one for 16: the exporter took the packed bytes for the weight, and the "
            "true scales are lost (nvidia-modelopt up to 0.45 after `mtq.compress`; "
            "vllm#38980, TensorRT-LLM#12762). Dropping the leaked keys would load "
            "garbage.",
            _EXPORT_AGAIN,
        )


def _refused_names(evidence: Evidence) -> Iterator[Finding]:
    """Say why no renaming makes it right; block scales have a finding of their own."""
    refusal, stored = evidence.loaded.refusal, evidence.loaded.stored
    if refusal is None or Encoding.DESTROYED in evidence.encodings:
        return
    name = "stored-twice"
    if Encoding.QUANTIZER_STATE in stored:
        name = "leaked-quantizer-state"
    elif Encoding.FUSED in stored:
        name = "fused-experts"
    yield Finding(
        name,
        Severity.ERROR,
        f"{refusal.problem} Seen: {_some(list(refusal.evidence))}.",
        refusal.fix,
    )


def _renamed(evidence: Evidence) -> Iterator[Finding]:
    for kind in evidence.loaded.kinds:
        yield Finding(kind, Severity.INFO, _RENAMED[kind], _REPAIR)


def _unrecognised(evidence: Evidence) -> Iterator[Finding]:
    seen = tuple(evidence.stored_as(Encoding.UNRECOGNISED))
    if seen:
        kinds = sorted(
            {
                f"{t.suffix} {t.dtype} {list(t.shape)}"
                for s in seen
                for t in s.group.tensors
            }
        )
        yield Finding(
            "unknown-layout",
            Severity.ERROR,
            f"{_modules(seen)} are stored in a way that is not known here: "
            f"{_some(kinds)}.",
            "Use a checkpoint that nvidia-modelopt or llm-compressor exported.",
        )


def _two_producers(evidence: Evidence) -> Iterator[Finding]:
    if evidence.encodings >= NVFP4:
        yield Finding(
            "unknown-layout",
            Severity.ERROR,
            "Some modules have ModelOpt's names (`weight`, `weight_scale_2`) and some "
            "those of compressed-tensors (`weight_packed`, `weight_global_scale`); "
            "their global scales are each other's inverse.",
            "Export the checkpoint again with one tool.",
        )


def _missing_block_scale(evidence: Evidence) -> Iterator[Finding]:
    seen = tuple(evidence.stored_as(Encoding.NO_BLOCK_SCALE))
    if seen:
        yield Finding(
            "missing-block-scale",
            Severity.ERROR,
            f"{_modules(seen)} are packed and have no `weight_scale`.",
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
                f"{_modules(seen)} are packed NVFP4 and have no `{suffix}`; the "
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
        f"{_modules(without)} have no input scale, and {said}; the engine would take "
        "whatever is in its memory (vllm#45212, vllm#54189).",
        "Calibrate with more data, so that every expert is reached, and export again; "
        "where only weights are quantized, say `W4A16_NVFP4` in the config.",
    )


def _awq_scales(evidence: Evidence) -> Iterator[Finding]:
    names = ("pre_quant_scale", "svdquant_lora_a", "svdquant_lora_b")
    seen = [s for s in evidence.seen if any(map(s.group.tensor, names))]
    if seen:
        yield Finding(
            "pre-quant-scale",
            Severity.ERROR,
            f"{_modules(seen)} carry AWQ or SVDQuant tensors, which vLLM does not "
            "apply to NVFP4 (vllm#45333).",
            "Quantize again with plain NVFP4, without AWQ or SVDQuant.",
        )


def _unclaimed_kv_scales(evidence: Evidence) -> Iterator[Finding]:
    seen = [
        s for s in evidence.seen if any(is_kv_scale(t.suffix) for t in s.group.tensors)
    ]
    if seen and (evidence.claim is None or evidence.claim.kv_cache is None):
        yield Finding(
            "unclaimed-kv-scales",
            Severity.WARNING,
            f"{_modules(seen)} hold scales of the KV cache, and no config asks for a "
            "quantized one; the engine does not use them.",
            "Pass `--kv-cache-dtype fp8` to use them.",
        )


def _count(seen: Iterable[Seen]) -> int:
    return sum(each.group.count for each in seen)


def _modules(seen: Iterable[Seen]) -> str:
    """Return how many modules there are, and the name of the first."""
    every = tuple(seen)
    number = _count(every)
    example = f"`{every[0].group.example}`"
    return (
        f"{number:,} modules ({example}, ...)"
        if number > 1
        else f"1 module ({example})"
    )


def _some(words: list[str]) -> str:
    more = len(words) - 8
    return ", ".join(words[:8]) + (f", and {more} more" if more > 0 else "")


_CHECKS: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _destroyed_scales,
    _refused_names,
    _renamed,
    _unrecognised,
    _two_producers,
    _missing_block_scale,
    _missing_global_scale,
    _missing_input_scale,
    _awq_scales,
    _unclaimed_kv_scales,
)
