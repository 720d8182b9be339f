"""Which rows of the known-bad list hold for a plan. Pure.

What is not known never makes a row hold: the list must not cry wolf.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import KnownBadError, UsageError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.findings import host_findings
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.case import Case, read_flags
from nvfp4_serve.plan.types import Plan, Request
from nvfp4_serve.recipe.knowledge import Knowledge
from nvfp4_serve.recipe.known_bad import SHIPPED, Conditions, KnownBad, Words, words
from nvfp4_serve.recipe.ranges import is_range, number_in, version_in


def holding(rows: Iterable[KnownBad], case: Case) -> tuple[KnownBad, ...]:
    """Return the rows that hold in ``case``."""
    return tuple(row for row in rows if _holds(row.when, case))


def check_known_bad(
    rows: tuple[KnownBad, ...], case: Case, allowed: tuple[str, ...]
) -> tuple[Finding, ...]:
    """Return what is to be said of the rows that hold; refuse what they refuse.

    Args:
        rows: The list.
        case: What would run, and on what.
        allowed: Ids of rows that the user knows of and wants not to be stopped by.

    Raises:
        KnownBadError: Something is known not to work.
        UsageError: There is no row of an id in ``allowed``.
    """
    _check_ids(allowed, {row.id for row in rows})
    found = holding(rows, case)
    refused = [r for r in found if r.severity == "refuse" and r.id not in allowed]
    if refused:
        raise _error(refused)
    return tuple(
        Finding(
            f"known-bad:{row.id}",
            Severity.WARNING,
            f"{row.symptom} (known bad: {row.id}; source: {row.source})",
            row.instead,
        )
        for row in found
    )


def hold_against(
    plan: Plan, layout: Layout, host: Host, request: Request, knowledge: Knowledge
) -> Plan:
    """Return ``plan`` with what is wrong with the machine, and what goes badly with it.

    Raises:
        KnownBadError: It is known not to work, and the user did not allow it.
        UsageError: The user allowed something that is not in the list.
    """
    case = Case(
        layout=layout,
        host=host,
        gpus=tuple(gpu for gpu in host.gpus if gpu.uuid in plan.gpus),
        flags=read_flags(plan.argv[1:], knowledge.spellings),
        env=dict(request.environment) | dict(plan.env),
        versions=SHIPPED,
    )
    found = check_known_bad(knowledge.known_bad, case, request.allowed)
    return replace(plan, findings=(*plan.findings, *_of_machine(host), *found))


def _of_machine(host: Host) -> list[Finding]:
    """Return what is wrong with the machine, so that no GPU is left out silently.

    How containers are attached is nothing to an engine that runs in none, and that GPUs
    are unlike is nothing to a plan that uses one kind.
    """
    return [
        finding
        for finding in host_findings(replace(host, container=None))
        if finding.severity is not Severity.INFO and finding.id != "unlike-gpus"
    ]


def _check_ids(allowed: tuple[str, ...], known: set[str]) -> None:
    for name in allowed:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"The known-bad list has no row {name!r}"
                + (f"; did you mean `{near[0]}`?" if near else "."),
                fix="`nvfp4-serve known-bad` prints the list.",
            )


def _error(refused: list[KnownBad]) -> KnownBadError:
    first = refused[0]
    allow = " ".join(f"--allow-known-bad {row.id}" for row in refused)
    return KnownBadError(
        f"This is known not to work ({first.id}): {first.symptom}"
        if len(refused) == 1
        else f"{len(refused)} things of this plan are known not to work.",
        evidence=tuple(
            f"source: {row.source}"
            if len(refused) == 1
            else f"{row.id}: {row.symptom} (source: {row.source})"
            for row in refused
        ),
        fix=" ".join(row.instead for row in refused) + f" `{allow}` goes on anyway.",
    )


def _holds(when: Conditions, now: Case) -> bool:
    return (
        all(test(when, now) for test in _TESTS)
        and _values_hold(when.flags, now.flags)
        and _values_hold(when.env, now.env)
    )


def _is_checkpoint(when: Conditions, now: Case) -> bool:
    layout = now.layout
    if not _one_of(when.model, now.models):
        return False
    if layout is None:
        headers = (when.layout, when.architecture, when.schemes)
        return not any(headers) and _one_of(when.revision, [now.revision])
    return (
        _one_of(when.revision, [layout.revision])
        and _one_of(when.layout, [layout.layout])
        and _one_of(when.architecture, [layout.architecture])
        and all(
            _one_of(wanted, layout.schemes.get(name, "").split("+"))
            for name, wanted in (when.schemes or {}).items()
        )
    )


def _are_gpus(when: Conditions, now: Case) -> bool:
    gpus = now.gpus
    return (
        _one_of(
            when.compute_capability,
            {capability_text(gpu.compute_capability) for gpu in gpus},
        )
        and _number(when.gpus, len(gpus))
        and _number(when.gpu_memory, _memory(now))
        and _is(when.unified, bool(gpus) and gpus[0].integrated)
        and _is(when.mig, any(gpu.mig_parent for gpu in gpus))
        and _is(when.nvlink, _linked(now))
        and _one_of(when.fabric, [gpu.fabric for gpu in gpus])
    )


def _is_machine(when: Conditions, now: Case) -> bool:
    host = now.host
    if host is None:
        asked = (when.wsl, when.cpu, when.driver, when.cuda_driver)
        is_asked = any(value is not None for value in asked)
        return not is_asked and _number(when.nodes, now.nodes)
    speaks = capability_text(host.cuda_driver) if host.cuda_driver else None
    return (
        _is(when.wsl, host.wsl)
        and _one_of(when.cpu, [host.architecture])
        and _version(when.driver, host.driver)
        and _version(when.cuda_driver, speaks)
        and _number(when.nodes, now.nodes)
    )


def _is_engine(when: Conditions, now: Case) -> bool:
    return (
        _version(when.vllm, now.versions.get("vllm"))
        and _version(when.flashinfer, now.versions.get("flashinfer"))
        and _version(when.nccl, now.versions.get("nccl"))
        and _version(when.cudnn, now.versions.get("cudnn"))
        and _one_of(when.image, [now.image])
    )


_TESTS: Final[tuple[Callable[[Conditions, Case], bool], ...]] = (
    _is_checkpoint,
    _are_gpus,
    _is_machine,
    _is_engine,
)


def _memory(now: Case) -> int | None:
    if not now.gpus:
        return None
    if now.gpus[0].integrated:
        return now.host.memory_total if now.host else None
    return now.gpus[0].memory_total


def _linked(now: Case) -> bool | None:
    """Return whether the GPUs are linked; None: there is one, or it is not known."""
    links = [gpu.nvlinks_active for gpu in now.gpus]
    if len(links) < 2 or None in links:
        return None
    return all(links)


def _is(wanted: bool | None, found: bool | None) -> bool:
    return wanted is None or wanted == found


def _number(wanted: str | None, found: float | None) -> bool:
    return wanted is None or (found is not None and number_in(wanted, found))


def _version(wanted: str | None, found: str | None) -> bool:
    if wanted is None:
        return True
    try:
        return found is not None and version_in(wanted, found)
    except ValueError:
        return False  # What a driver says of itself need not be a version.


def _one_of(wanted: Words | None, found: Iterable[str | None]) -> bool:
    return wanted is None or any(
        _like(value, word) for value in found if value for word in words(wanted)
    )


def _values_hold(wanted: Mapping[str, Words] | None, found: Mapping[str, str]) -> bool:
    return all(
        any(_value_holds(found.get(name), word) for word in words(value))
        for name, value in (wanted or {}).items()
    )


def _value_holds(found: str | None, word: str) -> bool:
    if word == "absent" or found is None:
        return word == "absent" and found is None
    if word == "present":
        return True
    if is_range(word):
        return _is_number(found) and number_in(word, float(found))
    return _like(found, word)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _like(found: str, word: str) -> bool:
    """Return whether they are the same but for case, and ``-`` for ``_``."""
    return fnmatchcase(
        found.casefold().replace("-", "_"), word.casefold().replace("-", "_")
    )
