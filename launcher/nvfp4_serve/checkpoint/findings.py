"""What a user should know of a checkpoint: the tensors, held against the claim. Pure.

Each check reads the evidence and yields what it finds. To add one, write it and name
it in ``_CHECKS``. An ``ERROR`` is only for what would crash or answer wrong.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from nvfp4_serve.checkpoint.contradictions import CONTRADICTIONS
from nvfp4_serve.checkpoint.encodings import NVFP4, Encoding, is_kv_scale
from nvfp4_serve.checkpoint.evidence import Evidence
from nvfp4_serve.checkpoint.lists import named, some
from nvfp4_serve.checkpoint.mismatches import MISMATCHES
from nvfp4_serve.checkpoint.parts import PARTS
from nvfp4_serve.checkpoint.scales import SCALES
from nvfp4_serve.finding import Finding, Severity

_ORDER: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_GPT_OSS: Final = "GptOssForCausalLM"
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
    for check in (*_CHECKS, *SCALES, *PARTS, *MISMATCHES, *CONTRADICTIONS):
        found.extend(check(evidence))
    return worst_first(found)


def worst_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return ``found`` in order of severity."""
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def _destroyed_scales(evidence: Evidence) -> Iterator[Finding]:
    seen = tuple(evidence.stored_as(Encoding.DESTROYED))
    if seen:
        yield Finding(
            "destroyed-block-scales",
            Severity.ERROR,
            f"{named(seen)} have one block scale for 32 values where NVFP4 has "
            "one for 16: the exporter took the packed bytes for the weight, and the "
            "true scales are lost (nvidia-modelopt up to 0.45 after `mtq.compress`; "
            "vllm#38980, TensorRT-LLM#12762). Dropping the leaked keys would load "
            "garbage.",
            _EXPORT_AGAIN,
        )


def _refused_names(evidence: Evidence) -> Iterator[Finding]:
    """Say why no renaming makes it right; block scales have a finding of their own."""
    refusal, stored = evidence.loaded.refusal, evidence.loaded.stored
    if Encoding.DESTROYED in evidence.encodings or refusal is None:
        return
    name = "stored-twice"
    if Encoding.QUANTIZER_STATE in stored | evidence.encodings:
        name = "leaked-quantizer-state"
    elif Encoding.FUSED in stored:
        name = "fused-experts"
    problem, fix = f"{refusal.problem} Seen: {some(refusal.evidence)}.", refusal.fix
    is_gpt_oss = evidence.model.architecture == _GPT_OSS
    if is_gpt_oss and name == "fused-experts" and _has_biases(evidence):
        problem = (
            "The experts of gpt-oss are NVFP4 with biases, all of them in one tensor; "
            "vLLM knows gpt-oss with MXFP4 experts only (vllm#46641)."
        )
        fix = "Serve the MXFP4 checkpoint that OpenAI published."
    yield Finding(name, Severity.ERROR, problem, fix)


def _has_biases(evidence: Evidence) -> bool:
    """Return whether a bias of experts was seen."""
    return any(
        t.suffix.endswith("bias")
        for s in evidence.seen
        for t in s.group.tensors
        if ".experts" in s.group.name
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
            f"{named(seen)} are stored in a way that is not known here: {some(kinds)}.",
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


def _awq_scales(evidence: Evidence) -> Iterator[Finding]:
    names = ("pre_quant_scale", "svdquant_lora_a", "svdquant_lora_b")
    seen = [s for s in evidence.seen if any(map(s.group.tensor, names))]
    if seen:
        yield Finding(
            "pre-quant-scale",
            Severity.ERROR,
            f"{named(seen)} carry AWQ or SVDQuant tensors, which vLLM does not "
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
            f"{named(seen)} hold scales of the KV cache, and no config asks for a "
            "quantized one; the engine does not use them.",
            "Pass `--kv-cache-dtype fp8` to use them.",
        )


def _constructed(evidence: Evidence) -> Iterator[Finding]:
    if evidence.checkpoint.constructed:
        yield Finding(
            "constructed-facts",
            Severity.INFO,
            "Nobody read the files of this checkpoint: what is said of it was "
            "constructed from what is published.",
            "`nvfp4-serve inspect MODEL` without `--checkpoint-facts` reads the files.",
        )


_CHECKS: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _constructed,
    _destroyed_scales,
    _refused_names,
    _renamed,
    _unrecognised,
    _two_producers,
    _awq_scales,
    _unclaimed_kv_scales,
)
