"""The kernels of a plan: what the rules choose, what the user asks, what vLLM would. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu
from nvfp4_serve.plan.asked_backends import AskedBackends, check_asked
from nvfp4_serve.plan.backends import (
    FLAGS,
    Backends,
    Situation,
    Target,
    choose_backends,
    situations,
)
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.stock import attention_cell, draft_cell, linear_cell, moe_cell
from nvfp4_serve.plan.types import Kernel, Reason
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.recipe.backend_rules import BackendRules
from nvfp4_serve.recipe.stock import Stock

_NAMES: Final = {
    "moe": "experts", "linear": "layers", "attention": "attention",
    "draft_moe": "draft",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a plan says of kernels.

    Attributes:
        choices: The flags and variables of the rules.
        reasons: What is left to vLLM.
        expected: What vLLM must say it uses, by field; certain ones only.
        compared: Each part, beside what stock vLLM would take.
    """

    choices: tuple[Choice, ...] = ()
    reasons: tuple[Reason, ...] = ()
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compared: tuple[Kernel, ...] = ()


def target_of(gpus: tuple[Gpu, ...], wishes: Wishes) -> Target:
    """Return what kernels ask of the GPUs of a plan; all of them are alike."""
    groups = (wishes.pipeline_parallel or 1) * (wishes.data_parallel or 1)
    tensor_parallel = max(1, len(gpus) // groups)
    spread = tensor_parallel * (wishes.data_parallel or 1) > 1
    return Target(
        compute_capability=gpus[0].compute_capability,
        tensor_parallel=tensor_parallel,
        # vLLM 0.32.0, fused_moe/config.py, FusedMoEParallelConfig.make: one GPU has
        # nothing to spread.
        expert_parallel=bool(wishes.expert_parallel) and spread,
        gpus=len(gpus),
        unified=gpus[0].integrated,
    )


def decide_kernels(
    layout: Layout,
    target: Target,
    asked: AskedBackends,
    rules: BackendRules,
    stock: Stock,
) -> Kernels:
    """Return the kernels of ``layout`` on ``target``; the user's words go first.

    Raises:
        UsageError: vLLM offers something that was asked for not here.
    """
    check_asked(layout, target, asked, rules, stock)
    chosen = choose_backends(layout, target, rules)
    expected = dict(chosen.expected)
    every = situations(layout, target)
    for name in asked.touches:
        expected.pop(name, None)
        if told := _told(name, asked, every, target, stock):
            expected[name] = told
    if not (asked.is_simple and _is_known(target, stock)):
        expected = {}
    return Kernels(
        choices=_beside(chosen, asked),
        reasons=tuple(
            reason
            for reason in chosen.reasons
            if reason.flag.partition(":")[2].strip() in _texts(expected)
        ),
        expected=expected,
        compared=tuple(_compared(layout, target, asked, chosen, stock)),
    )


def _beside(chosen: Backends, asked: AskedBackends) -> tuple[Choice, ...]:
    """Leave the user's own way alone: no backend beside one of theirs."""
    taken = {FLAGS[name] for name in asked.touches}
    if not asked.is_simple:
        taken |= {FLAGS["moe"], FLAGS["linear"]}
    return tuple(choice for choice in chosen.choices if choice.name not in taken)


def _texts(expected: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    return frozenset(name for names in expected.values() for name in names)


def _is_known(target: Target, stock: Stock) -> bool:
    """Return whether this capability was asked about; of a newer one nothing is."""
    return any(target.capability in cell.capabilities for cell in stock.linear)


def _told(
    name: str,
    asked: AskedBackends,
    every: tuple[Situation, ...],
    target: Target,
    stock: Stock,
) -> tuple[str, ...]:
    """Return what vLLM says it uses once the user's word is given."""
    names: list[str | None] = []
    for situation in every:
        if name == "moe" and (cell := moe_cell(stock, target, situation)):
            names.append(_name(cell.auto, cell.offers, asked.moe))
        if name == "linear" and (other := linear_cell(stock, target, situation)):
            known = asked.linear if asked.linear in other.offers else "auto"
            names.append(_name(other.auto, other.offers, known))
    found = tuple(dict.fromkeys(one for one in names if one is not None))
    return found if None not in names else ()


def _name(auto: str | None, offers: Mapping[str, str], asked: str | None) -> str | None:
    return auto if asked in (None, "auto") else offers.get(asked or "")


def _compared(
    layout: Layout,
    target: Target,
    asked: AskedBackends,
    chosen: Backends,
    stock: Stock,
) -> Iterator[Kernel]:
    """Yield each part of the model once for each of its schemes."""
    seen = set()
    for situation in situations(layout, target):
        for name in _NAMES:
            kernel = _kernel(name, situation, target, asked, chosen, stock)
            if kernel is not None and kernel not in seen:
                seen.add(kernel)
                yield kernel


def _kernel(
    name: str,
    situation: Situation,
    target: Target,
    asked: AskedBackends,
    chosen: Backends,
    stock: Stock,
) -> Kernel | None:
    answer = _answer(name, situation, target, asked, stock)
    if answer is None:
        return None
    scheme, auto, offers = answer
    users = getattr(asked, name)
    ours = users if users is not None else getattr(chosen, name)
    if name == "draft_moe" and ours is None:
        # vLLM 0.32.0, config/speculative.py: the draft follows the model.
        users, ours = asked.moe, asked.moe or chosen.moe
    row = next(iter(chosen.rows.get(name, ())), None)
    why, source = (row.why, row.source) if row else ("No rule says anything.", "rules")
    if users is not None:
        who = name if getattr(asked, name) is not None else "moe"
        why, source = asked.by.get(who, ("You asked for it.", "the command line"))
    return Kernel(
        part=_NAMES[name],
        scheme=scheme,
        backend=ours or "auto",
        kernel=_name(auto, offers, ours) or ours or "unknown",
        stock=auto or "none",
        why=why,
        source=source,
    )


def _answer(
    name: str,
    situation: Situation,
    target: Target,
    asked: AskedBackends,
    stock: Stock,
) -> tuple[str, str | None, Mapping[str, str]] | None:
    """Return the scheme of a part, what `auto` takes for it, and what it offers."""
    if name == "moe" and (cell := moe_cell(stock, target, situation)):
        return cell.scheme, cell.auto, cell.offers
    if name == "draft_moe" and (cell := draft_cell(stock, target, situation)):
        return cell.scheme, cell.auto, cell.offers
    if name == "linear" and (other := linear_cell(stock, target, situation)):
        return other.scheme, other.auto, other.offers
    dtype = asked.kv_cache_dtype or "auto"
    if name == "attention" and (
        found := attention_cell(stock, target, situation, dtype)
    ):
        return found.kind, found.auto, {one: one for one in found.offers}
    return None
