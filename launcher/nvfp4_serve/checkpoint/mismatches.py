"""Where a module is stored otherwise than the config says of it. Pure.

Part of ``findings``. Every check asks ``Seen.expected``, what the config says of that
very module: ``expected`` has the table.
"""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from nvfp4_serve.checkpoint.config import Claim, quantization_section
from nvfp4_serve.checkpoint.encodings import (
    FOREIGN,
    NVFP4,
    QUANTIZED,
    Encoding,
    fp8_scale,
    is_linear,
    weight_of,
)
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.parts import QUANTIZED_ROUTERS
from nvfp4_serve.finding import Finding, Severity

_SAME_EXPORT: Final = "Take the config from the export that wrote the tensors."
#: Classes whose matrices vLLM builds quantized unless the config excludes them.
_ALWAYS_QUANTIZED: Final = frozenset(
    {"routed_experts", "shared_experts", "mlp", "router"}
)
_OFTEN_QUANTIZED: Final = frozenset({"attention", "mtp", "lm_head"})
#: What some models build plain whatever the config says.
_NOT_JUDGED: Final = frozenset({"embeddings", "router", "vision"})


def _claimed_but_plain(evidence: Evidence) -> Iterator[Finding]:
    """Nothing at all is quantized: Model-Optimizer#1323."""
    claim = evidence.claim
    if claim is None or evidence.encodings & (FOREIGN | QUANTIZED):
        return
    if Encoding.NO_BLOCK_SCALE in evidence.encodings:
        return
    if claim.nvfp4 or claim.experts == "NVFP4":
        yield Finding(
            "claimed-nvfp4-not-packed",
            Severity.ERROR,
            f"`{claim.file}` claims {claim.algorithm}, and no module is packed: the "
            "quantizer skipped every weight and said nothing (Model-Optimizer#1323).",
            "Quantize again with nvidia-modelopt 0.47 or newer and inspect the output; "
            "to serve it as it is, take the quantization out of the config.",
        )
    elif any(lacks(s, evidence) and s.label not in _NOT_JUDGED for s in evidence.seen):
        yield Finding(
            "claimed-not-quantized",
            Severity.ERROR,
            f"`{claim.file}` claims {claim.algorithm}, and every weight is plain; the "
            "engine would put plain values into quantized parameters.",
            "Take the quantization out of the config, or quantize again.",
        )


def _stored_otherwise(evidence: Evidence) -> Iterator[Finding]:
    """A weight is quantized in another way than the config says."""
    claim = evidence.claim
    wrong = [s for s in evidence.stored_as(*QUANTIZED) if _is_otherwise(s)]
    if claim is None or not wrong:
        return
    kinds = sorted({(_algorithm(s), s.encoding, s.label == "mtp") for s in wrong})
    for algorithm, encoding, is_mtp in kinds:
        seen = [
            s
            for s in wrong
            if (_algorithm(s), s.encoding, s.label == "mtp")
            == (algorithm, encoding, is_mtp)
        ]
        yield Finding(
            "stored-otherwise",
            Severity.WARNING if is_mtp else Severity.ERROR,
            f"`{seen[0].group.example}` is stored as {encoding}, and `{claim.file}` "
            f"says {claim.method or 'modelopt'} {algorithm} ({len(seen):,} such "
            "groups); the engine would take its values for something else.",
            _SAME_EXPORT,
        )


def _excluded_but_quantized(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    seen = [s for s in evidence.stored_as(*QUANTIZED) if _is_excluded(s)]
    if claim is not None and seen:
        yield Finding(
            "excluded-but-quantized",
            Severity.ERROR,
            f"`{claim.file}` excludes `{seen[0].group.example}` from the quantization "
            f"or does not name it, and it is stored as {seen[0].encoding} "
            f"({len(seen):,} such groups); the engine would look for a plain weight.",
            _SAME_EXPORT,
        )


def _plain_but_not_excluded(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is None or not evidence.encodings & QUANTIZED:
        return
    plain = [s for s in evidence.stored_as(Encoding.PLAIN) if lacks(s, evidence)]
    for severity in (Severity.ERROR, Severity.WARNING):
        seen = [s for s in plain if severity_of(s) is severity]
        if seen:
            yield Finding(
                "plain-but-not-excluded",
                severity,
                f"`{seen[0].group.example}` is a plain weight, and `{claim.file}` "
                f"says {_algorithm(seen[0])} of it ({len(seen):,} such groups); the "
                "engine expects it packed.",
                "Add its name to `ignore` of `quantization_config`, or take the config "
                "from the export that wrote the tensors.",
            )


def _missing_fp8_scale(evidence: Evidence) -> Iterator[Finding]:
    fp8 = evidence.stored_as(Encoding.FP8, Encoding.FP8_BLOCK)
    seen = [s for s in fp8 if _algorithm(s) and not fp8_scale(s.group)]
    if seen:
        yield Finding(
            "missing-fp8-scale",
            Severity.ERROR,
            f"`{seen[0].group.example}` is FP8 and has no scale ({len(seen):,} such "
            "groups); the engine would scale it by whatever is in its memory.",
            "Download the checkpoint again, or export it again.",
        )


def _undeclared_draft(evidence: Evidence) -> Iterator[Finding]:
    claim, seen = evidence.claim, undeclared_draft(evidence)
    if claim is not None and seen:
        yield Finding(
            "undeclared-draft",
            Severity.WARNING,
            f"The experts of the prediction layers (`{seen[0].group.example}`) are "
            f"MXFP4, and `{claim.file}` says NVFP4 of all experts; the engine takes "
            "the bytes without an error, and what it drafts is never right.",
            "Add `mtp.*` to `ignore` of `quantization_config`.",
        )


def undeclared_draft(evidence: Evidence) -> list[Seen]:
    """Return MXFP4 experts of prediction layers that the engine would build NVFP4."""
    claim = evidence.claim
    if claim is None or claim.family != "fp8" or claim.experts != "NVFP4":
        return []
    experts = [s for s in evidence.stored_as(Encoding.MXFP4) if s.label == "mtp"]
    experts = [seen for seen in experts if ".experts." in seen.group.name]
    # The engine asks for each prediction layer, of this key alone; exports except all
    # of them together.
    section = quantization_section(evidence.checkpoint.config)
    ignore = section.get("ignore") if isinstance(section, Mapping) else None
    if any(fnmatchcase("mtp.0.ffn.experts", str(pattern)) for pattern in ignore or ()):
        return []
    return experts


def _slow_patterns(evidence: Evidence) -> Iterator[Finding]:
    """A regular expression may take longer than anyone waits; the engine's too."""
    claim, slow = evidence.claim, evidence.slow
    if claim is not None and slow:
        yield Finding(
            "slow-pattern",
            Severity.WARNING,
            f"`{claim.file}` names modules by `{slow[0][:80]}`, and to match that "
            "may take hours; what it says of which module was not checked.",
            "Write it without a repeated group and with few repeats; the engine "
            "matches it with every module too.",
        )


def _algorithm(seen: Seen) -> str:
    return (seen.expected.algorithm if seen.expected else None) or ""


def _is_otherwise(seen: Seen) -> bool:
    if seen.expected is None or seen.label in _NOT_JUDGED:
        return False
    return bool(_algorithm(seen)) and seen.encoding not in seen.expected.stored_as


def _is_excluded(seen: Seen) -> bool:
    """Return whether it is quantized, and the config says that it is not."""
    expected = seen.expected
    if expected is None or expected.algorithm or seen.label in _NOT_JUDGED:
        return False
    if seen.encoding in expected.stored_as:
        return False
    # Excluded from one quantization, and stored in the way of another.
    return seen.label != "mtp" or seen.encoding in NVFP4


def lacks(seen: Seen, evidence: Evidence) -> bool:
    """Return whether the engine expects it packed, and it is plain."""
    claim = evidence.claim
    return (
        claim is not None
        and bool(_algorithm(seen))
        and _is_built_quantized(seen, evidence)
        and not _is_part_of_name(seen, claim)
    )


def _is_built_quantized(seen: Seen, evidence: Evidence) -> bool:
    """Return whether vLLM builds it as the config says; some parts are always plain."""
    weight, claim = weight_of(seen.group), evidence.claim
    if weight is None or len(weight.shape) != 2 or claim is None:
        return is_linear(seen.group)
    if seen.label == "lm_head":
        # To compressed-tensors it is no `Linear`; ModelOpt's configs name it.
        return claim.family == "modelopt"
    if seen.label == "router":
        is_gate = seen.group.name.endswith(".gate")
        return is_gate and evidence.model.architecture in QUANTIZED_ROUTERS
    return is_linear(seen.group)


def _is_part_of_name(seen: Seen, claim: Claim) -> bool:
    """Return whether something that is excluded is a part of the name.

    vLLM excludes by that too (``is_layer_excluded``), and no export means it.
    """
    name = seen.group.example
    return claim.family == "modelopt" and any(part in name for part in claim.ignore)


def severity_of(seen: Seen) -> Severity | None:
    """Return how bad it is that it is plain; None: some models build it so."""
    by_name = seen.expected is not None and seen.expected.by_name
    if seen.label in _ALWAYS_QUANTIZED or (by_name and seen.label == "attention"):
        return Severity.ERROR
    native = _algorithm(seen) == "FP8" and not by_name
    return Severity.WARNING if seen.label in _OFTEN_QUANTIZED and not native else None


MISMATCHES: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _slow_patterns,
    _claimed_but_plain,
    _stored_otherwise,
    _excluded_but_quantized,
    _plain_but_not_excluded,
    _missing_fp8_scale,
    _undeclared_draft,
)
