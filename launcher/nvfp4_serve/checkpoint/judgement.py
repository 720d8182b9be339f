"""What is to be said of a checkpoint once the overlay has cured what it can. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.checkpoint.evidence import Evidence, gather
from nvfp4_serve.checkpoint.findings import find, worst_first
from nvfp4_serve.checkpoint.overlay import make_overlay
from nvfp4_serve.checkpoint.types import Overlay
from nvfp4_serve.finding import Finding, Severity

_MILDER: Final = {
    Severity.ERROR: Severity.WARNING,
    Severity.WARNING: Severity.INFO,
    Severity.INFO: Severity.INFO,
}
_CURED: Final = (
    " The engine is told otherwise, by a config that the tensors agree with."
)
_FIX: Final = (
    "Nothing has to be done; `nvfp4-serve repair SRC DST` writes a copy whose "
    "config.json says it."
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known, what is told to the engine, and what is to be said.

    Attributes:
        evidence: Read with the overlay, where there is one.
    """

    evidence: Evidence
    overlay: Overlay | None
    findings: tuple[Finding, ...]


def judge(evidence: Evidence) -> Judgement:
    """Return what is to be said of ``evidence``.

    An overlay is held against the tensors like any config: one that does not take
    away a finding, or that brings an error, is none.
    """
    before = find(evidence)
    overlay = make_overlay(evidence)
    if overlay is None:
        return Judgement(evidence, None, before)
    config = {
        **evidence.checkpoint.config,
        "quantization_config": overlay.quantization_config,
    }
    checkpoint = replace(evidence.checkpoint, config=config)
    told = gather(checkpoint, loaded=evidence.loaded)
    after = find(told)
    ids = {finding.id for finding in before}
    left = {finding.id for finding in after}
    cured = [finding for finding in before if finding.id not in left]
    if not cured or any(_is_new_error(finding, ids) for finding in after):
        return Judgement(evidence, None, before)
    said = [finding for finding in after if finding.id in ids]
    said += [_milder(finding) for finding in cured]
    return Judgement(told, overlay, worst_first(said))


def _is_new_error(finding: Finding, before: set[str]) -> bool:
    return finding.severity is Severity.ERROR and finding.id not in before


def _milder(finding: Finding) -> Finding:
    return Finding(
        finding.id, _MILDER[finding.severity], finding.message + _CURED, _FIX
    )
