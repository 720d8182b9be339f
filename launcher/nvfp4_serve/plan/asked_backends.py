"""Backends that the user asks for, held against what vLLM offers here. Pure."""

import difflib
from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.backend_words import (
    ATTENTION,
    CACHE,
    LINEAR,
    MOE,
    SPECULATIVE,
    AskedBackends,
)
from nvfp4_serve.plan.backends import (
    NVFP4,
    Target,
    schemes_of,
    situations,
)
from nvfp4_serve.plan.matching import Situation, holds
from nvfp4_serve.plan.stock import attention_cell, draft_cell, linear_cell, moe_cell
from nvfp4_serve.recipe.backend_rules import BackendRules, Refusal
from nvfp4_serve.recipe.stock import Cell, Stock

_UNABLE: Final = "compute capability not supported"


def check_refused(layout: Layout, asked: AskedBackends, rules: BackendRules) -> None:
    """Refuse a backend that runs these experts wrongly, on whatever machine.

    Raises:
        UsageError: With the reason.
    """
    experts = schemes_of(layout, "routed_experts") & NVFP4
    for row in rules.refused:
        if asked.moe == row.moe and experts & set(row.experts):
            raise _refused(layout, row)


def check_asked(
    layout: Layout,
    target: Target,
    asked: AskedBackends,
    rules: BackendRules,
    stock: Stock,
) -> None:
    """Refuse backends that vLLM would refuse minutes later; all of them at once.

    Raises:
        UsageError: With what this GPU and this checkpoint can have.
    """
    faults: list[_Fault] = []
    for situation in situations(layout, target):
        faults += _faults(situation, target, asked, stock)
    faults += [
        _Fault(
            f"`{flag} {row.backend}` needs the package `{row.package}`, which the "
            f"managed engine does not have",
            row.source,
            f"Leave `{flag}` out, and vLLM chooses.",
        )
        for row in rules.missing
        for flag, value in ((MOE, asked.moe), (LINEAR, asked.linear))
        if value == row.backend
    ]
    faults += [
        _Fault(f"`{CACHE} {asked.kv_cache_dtype}`: {row.why}", row.source, row.instead)
        for row in rules.cache_refused
        if (asked.kv_cache_dtype or "").startswith(row.kv_cache_dtype)
        and not asked.flags & set(row.unless)
        if any(holds(row.when, situation) for situation in situations(layout, target))
    ]
    if faults:
        raise UsageError(
            f"{faults[0].problem}.",
            evidence=tuple(dict.fromkeys(_evidence(faults))),
            fix=faults[0].fix,
        )


def check_draft(
    layout: Layout, target: Target, asked: AskedBackends, stock: Stock, moe: str | None
) -> None:
    """Refuse a draft that would follow a backend of ours, and cannot.

    Args:
        layout: The checkpoint.
        target: The GPUs.
        asked: What the user asks for; a backend of theirs is checked already.
        stock: What vLLM offers.
        moe: The backend that the rules chose for the experts.

    Raises:
        UsageError: With a backend that the draft can have.
    """
    if moe is None or asked.moe is not None or not asked.drafts:
        return
    following = replace(asked, moe=moe)
    for situation in situations(layout, target):
        fault = _draft_fault(situation, target, following, stock)
        if fault is not None:
            raise UsageError(
                f"{fault.problem}.",
                evidence=(fault.evidence, f"the rules choose `{MOE} {moe}` here"),
                fix=fault.fix,
            )


@dataclass(frozen=True, slots=True)
class _Fault:
    problem: str
    evidence: str
    fix: str


def _evidence(faults: list[_Fault]) -> list[str]:
    first, *others = faults
    return [first.evidence, *(f"{f.problem}: {f.evidence}" for f in others)]


def _faults(
    situation: Situation, target: Target, asked: AskedBackends, stock: Stock
) -> list[_Fault]:
    found: list[_Fault | None] = [
        _moe_fault(moe_cell(stock, target, situation), situation, target, asked.moe),
        _linear_fault(situation, target, asked.linear, stock),
        _attention_fault(situation, target, asked, stock),
    ]
    if asked.drafts:
        found.append(_draft_fault(situation, target, asked, stock))
    return [fault for fault in found if fault is not None]


def _moe_fault(
    cell: Cell | None, situation: Situation, target: Target, asked: str | None
) -> _Fault | None:
    if cell is None or asked in (None, "auto") or asked in cell.offers:
        return None
    kind = f"{situation.experts} experts on compute capability {target.capability_text}"
    return _not_offered(MOE, asked or "", kind, cell)


def _linear_fault(
    situation: Situation, target: Target, asked: str | None, stock: Stock
) -> _Fault | None:
    """Of a backend without any kernel for such layers vLLM makes `auto`, and warns."""
    cell = linear_cell(stock, target, situation)
    if cell is None or asked in (None, "auto") or asked in cell.offers:
        return None
    known = {name for one in stock.linear for name in (*one.offers, *one.refuses)}
    is_near = difflib.get_close_matches(asked or "", known, n=1, cutoff=0.8)
    if asked not in cell.refuses and not is_near:
        return None
    kind = f"{situation.linear} layers on compute capability {target.capability_text}"
    return _not_offered(LINEAR, asked or "", kind, cell)


def _attention_fault(
    situation: Situation, target: Target, asked: AskedBackends, stock: Stock
) -> _Fault | None:
    dtype = asked.kv_cache_dtype or "auto"
    cell = attention_cell(stock, target, situation, dtype)
    if cell is None:
        return None
    where = f"compute capability {target.capability_text}"
    if not cell.offers:
        cache = f" and a KV cache of {dtype}" if asked.kv_cache_dtype else ""
        return _Fault(
            f"vLLM has no backend for `{cell.kind}` attention{cache} on {where}",
            "; ".join(f"{name}: {why}" for name, why in cell.refuses.items()),
            f"Leave `{CACHE}` out."
            if asked.kv_cache_dtype
            else "Take a GPU that has one: 9.0, 10.x or 12.x.",
        )
    if _UNABLE not in cell.refuses.get(asked.attention or "AUTO", ""):
        return None
    return _Fault(
        f"`{ATTENTION} {asked.attention}` does not run on {where}",
        f"offered: {', '.join(cell.offers)}",
        f"Leave `{ATTENTION}` out, and vLLM chooses `{cell.auto}`.",
    )


def _draft_fault(
    situation: Situation, target: Target, asked: AskedBackends, stock: Stock
) -> _Fault | None:
    cell = draft_cell(stock, target, situation)
    wanted = asked.draft_moe or asked.moe
    if cell is None or wanted in (None, "auto") or wanted in cell.offers:
        return None
    flag = f"{SPECULATIVE} moe_backend" if asked.draft_moe else MOE
    offered = ", ".join(cell.offers)
    return _Fault(
        f"`{flag} {wanted}` cannot run the {situation.draft} experts of the draft",
        f"offered for them on {target.capability_text}: {offered}",
        "Say in `--speculative-config` which backend the draft has: "
        f'`"moe_backend": "{next(iter(cell.offers))}"`.',
    )


def _not_offered(flag: str, asked: str, kind: str, cell: Cell) -> _Fault:
    why = cell.refuses.get(asked)
    near = difflib.get_close_matches(asked, [*cell.offers, *cell.refuses], n=1)
    told = why or "vLLM has no backend of that name for them"
    if why is None and near:
        told += f"; did you mean `{near[0]}`?"
    offered = [name for name in cell.offers if name not in {"emulation", "b12x"}]
    return _Fault(
        f"`{flag} {asked}` cannot run {kind}",
        f"{told}; offered: {', '.join(offered)}",
        f"Use one that is offered, or leave `{flag}` out: vLLM then takes {cell.auto}.",
    )


def _refused(layout: Layout, row: Refusal) -> UsageError:
    experts = layout.schemes["routed_experts"]
    return UsageError(
        f"`{MOE} {row.moe}` cannot run NVFP4 experts: {row.why}.",
        evidence=(f"the routed experts are {experts}", row.source),
        fix=row.instead,
    )
