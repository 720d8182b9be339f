"""Backends that the user asks for, held against what vLLM offers here. Pure."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.backends import (
    NVFP4,
    Target,
    schemes_of,
    situations,
)
from nvfp4_serve.plan.flags import Spellings, flag_values
from nvfp4_serve.plan.matching import Situation, holds
from nvfp4_serve.plan.nested import nested_text, read_nested
from nvfp4_serve.plan.stock import attention_cell, draft_cell, linear_cell, moe_cell
from nvfp4_serve.recipe.backend_rules import BackendRules, Refusal
from nvfp4_serve.recipe.stock import Cell, Stock

_MOE: Final = "--moe-backend"
_LINEAR: Final = "--linear-backend"
_ATTENTION: Final = "--attention-backend"
_CACHE: Final = "--kv-cache-dtype"
_SPECULATIVE: Final = "--speculative-config"
#: With these the choice of kernels hangs on more than what is looked up here.
_OWN_WAY: Final = frozenset(
    {"--all2all-backend", "--enable-eplb", "--enable-lora", "--enable-dbo"}
)
#: The same, for variables.
_OWN_WAY_ENV: Final = frozenset(
    {"VLLM_BATCH_INVARIANT", "VLLM_DISABLED_KERNELS", "VLLM_B12X_MOE_FP4_FORCE_A16"}
)
#: Draft methods that load the prediction layers of the checkpoint itself.
_OWN_DRAFT: Final = frozenset({None, "mtp", "deepseek_mtp"})
_UNABLE: Final = "compute capability not supported"


@dataclass(frozen=True, slots=True)
class AskedBackends:
    """What the user's words say of kernels; None: nothing.

    Attributes:
        moe: ``--moe-backend``, or within ``--kernel-config``.
        linear: ``--linear-backend``, or within ``--kernel-config``.
        attention: ``--attention-backend``.
        kv_cache_dtype: ``--kv-cache-dtype``.
        drafts: The checkpoint's own draft is loaded.
        draft_moe: ``moe_backend`` of ``--speculative-config``.
        flags: The names of all flags.
        is_simple: Nothing else of what was asked decides on kernels.
    """

    moe: str | None
    linear: str | None
    attention: str | None
    kv_cache_dtype: str | None
    drafts: bool
    draft_moe: str | None
    flags: frozenset[str]
    is_simple: bool

    @property
    def touches(self) -> frozenset[str]:
        """The fields of `Backends` that the user decides."""
        mine = {"moe": self.moe, "linear": self.linear, "attention": self.attention}
        return frozenset(name for name, value in mine.items() if value is not None)


def read_asked_backends(
    words: tuple[str, ...],
    spellings: Spellings,
    environment: Mapping[str, str],
    flags: frozenset[str],
) -> AskedBackends:
    """Return what the user's words and variables say of kernels.

    Raises:
        UsageError: What follows a flag is no JSON object.
    """
    said = flag_values(words, spellings)
    kernels = {
        key: nested_text(words, "--kernel-config", key)
        for key in ("moe_backend", "linear_backend")
    }
    per_quant = nested_keys(words, "--kernel-config") - set(kernels)
    draft = draft_words(words)
    attention = said.get(_ATTENTION)
    return AskedBackends(
        moe=_word(said.get(_MOE, kernels["moe_backend"])),
        linear=_word(said.get(_LINEAR, kernels["linear_backend"])),
        attention=attention.upper() if attention else None,
        kv_cache_dtype=said.get(_CACHE),
        drafts=draft is not None and draft.get("method") in _OWN_DRAFT,
        draft_moe=_word((draft or {}).get("moe_backend")),
        flags=flags,
        is_simple=not flags & _OWN_WAY
        and not per_quant
        and not _OWN_WAY_ENV & set(environment),
    )


def draft_words(words: tuple[str, ...]) -> dict[str, str] | None:
    """Return the first-level texts of ``--speculative-config``; None: not given."""
    told: dict[str, str] | None = None
    for flag in (_SPECULATIVE, "-sc"):
        given = read_nested(words, flag)
        if not given.words:
            continue
        whole = {k: v for k, v in (given.whole or {}).items() if isinstance(v, str)}
        told = {**(told or {}), **whole}
        told |= {path[0]: text for path, text in given.keys if len(path) == 1}
    return told


def nested_keys(words: tuple[str, ...], flag: str) -> set[str]:
    """Return the first-level keys that the user gave a flag of JSON."""
    given = read_nested(words, flag)
    return {*(given.whole or {}), *(path[0] for path, _ in given.keys)}


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
        for flag, value in ((_MOE, asked.moe), (_LINEAR, asked.linear))
        if value == row.backend
    ]
    faults += [
        _Fault(f"`{_CACHE} {asked.kv_cache_dtype}`: {row.why}", row.source, row.instead)
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
    return _not_offered(_MOE, asked or "", kind, cell)


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
    return _not_offered(_LINEAR, asked or "", kind, cell)


def _attention_fault(
    situation: Situation, target: Target, asked: AskedBackends, stock: Stock
) -> _Fault | None:
    dtype = asked.kv_cache_dtype or "auto"
    cell = attention_cell(stock, target, situation, dtype)
    if cell is None:
        return None
    where = f"compute capability {target.capability_text}"
    if not cell.offers:
        cache = "" if cell.kv_cache_dtype == "auto" else f" ({dtype} KV cache)"
        return _Fault(
            f"vLLM has no attention backend for `{cell.kind}`{cache} on {where}",
            "; ".join(f"{name}: {why}" for name, why in cell.refuses.items()),
            f"Leave `{_CACHE}` out."
            if asked.kv_cache_dtype
            else "Take a GPU that has one: 9.0, 10.x or 12.x.",
        )
    if _UNABLE not in cell.refuses.get(asked.attention or "AUTO", ""):
        return None
    return _Fault(
        f"`{_ATTENTION} {asked.attention}` does not run on {where}",
        f"offered: {', '.join(cell.offers)}",
        f"Leave `{_ATTENTION}` out, and vLLM chooses `{cell.auto}`.",
    )


def _draft_fault(
    situation: Situation, target: Target, asked: AskedBackends, stock: Stock
) -> _Fault | None:
    cell = draft_cell(stock, target, situation)
    wanted = asked.draft_moe or asked.moe
    if cell is None or wanted in (None, "auto") or wanted in cell.offers:
        return None
    flag = f"{_SPECULATIVE} moe_backend" if asked.draft_moe else _MOE
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
        f"`{_MOE} {row.moe}` cannot run NVFP4 experts: {row.why}.",
        evidence=(f"the routed experts are {experts}", row.source),
        fix=row.instead,
    )


def _word(text: str | None) -> str | None:
    """Return a backend as vLLM reads it; config/kernel.py, _normalize_..._backend."""
    return None if text is None else text.lower().replace("-", "_")
