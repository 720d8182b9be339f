"""The kernels of a plan: the rules' choice, the user's, and stock vLLM's. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu
from nvfp4_serve.plan.asked_backends import check_asked, check_draft
from nvfp4_serve.plan.backend_words import AskedBackends
from nvfp4_serve.plan.backends import (
    FLAGS,
    Backends,
    Target,
    choose_backends,
    situations,
)
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.matching import Situation
from nvfp4_serve.plan.stock import attention_cell, draft_cell, linear_cell, moe_cell
from nvfp4_serve.plan.types import Kernel, Reason
from nvfp4_serve.plan.weights import Split
from nvfp4_serve.recipe.backend_rules import BackendRules
from nvfp4_serve.recipe.stock import Stock

_NAMES: Final = {
    "moe": "experts", "linear": "layers", "attention": "attention",
    "draft_moe": "draft",
}  # fmt: skip

#: The parts whose kernels vLLM logs, and that are held against the log.
_LOGGED: Final = ("moe", "linear")
#: The scheme of each, in a situation.
_SCHEMES: Final = {"moe": "experts", "linear": "linear"}


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


def target_of(gpus: tuple[Gpu, ...], split: Split) -> Target:
    """Return what kernels ask of the GPUs of a plan; all of them are alike."""
    return Target(
        compute_capability=gpus[0].compute_capability,
        tensor_parallel=split.tensor,
        # vLLM 0.32.0, fused_moe/config.py, FusedMoEParallelConfig.make: one GPU has
        # nothing to spread.
        expert_parallel=split.experts and split.sharing_experts > 1,
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
    check_draft(layout, target, asked, stock, chosen.moe)
    every = [_At(one, target, asked, stock) for one in situations(layout, target)]
    expected = {name: _told(name, every, chosen) for name in _LOGGED}
    if not asked.is_simple:
        expected = {}
    return Kernels(
        choices=_beside(chosen, asked),
        reasons=tuple(
            reason
            for reason in chosen.reasons
            if reason.flag.partition(":")[2].strip() in _texts(expected)
        ),
        expected=expected,
        compared=_compared(every, chosen),
    )


def _beside(chosen: Backends, asked: AskedBackends) -> tuple[Choice, ...]:
    """Leave the user's own way alone: no backend beside one of theirs."""
    taken = {FLAGS[name] for name in asked.touches}
    if not asked.is_simple:
        taken |= {FLAGS["moe"], FLAGS["linear"]}
    if "--enable-flashinfer-autotune" in asked.flags:
        taken.add("--no-enable-flashinfer-autotune")
    return tuple(choice for choice in chosen.choices if choice.name not in taken)


def _texts(expected: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    return frozenset(name for names in expected.values() for name in names)


@dataclass(frozen=True, slots=True)
class _At:
    """One situation of a plan, and what is known of it."""

    situation: Situation
    target: Target
    asked: AskedBackends
    stock: Stock


class _Answer(NamedTuple):
    """What vLLM says of one part.

    Attributes:
        scheme: How the part is stored.
        auto: What it takes by itself.
        offers: What may be asked for, and what that is called in the log.
    """

    scheme: str
    auto: str | None
    offers: Mapping[str, str]

    def named(self, asked: str | None) -> str | None:
        """Return what vLLM calls a backend in its log."""
        if asked is None or asked.lower() == "auto":
            return self.auto
        return self.offers.get(asked)


def _told(name: str, every: list[_At], chosen: Backends) -> tuple[str, ...]:
    """Return what vLLM says it uses; nothing where it was not asked about that."""
    names: list[str | None] = []
    for at in every:
        if getattr(at.situation, _SCHEMES[name]) is None:
            continue
        answer = _answer(name, at)
        if answer is None:
            return ()
        word: str | None = getattr(at.asked, name) or getattr(chosen, name)
        # Of a backend without any kernel for such layers vLLM makes `auto`.
        known = word if name == "moe" or word in answer.offers else "auto"
        names.append(answer.named(known))
    found = tuple(dict.fromkeys(one for one in names if one is not None))
    return found if None not in names else ()


def _compared(every: list[_At], chosen: Backends) -> tuple[Kernel, ...]:
    """Return each part of the model, once for each of its schemes."""
    found = (_kernel(name, at, chosen) for at in every for name in _NAMES)
    return tuple(dict.fromkeys(kernel for kernel in found if kernel is not None))


def _kernel(name: str, at: _At, chosen: Backends) -> Kernel | None:
    if name == "draft_moe" and not at.asked.drafts:
        return None  # It is in the checkpoint, and is not loaded.
    answer = _answer(name, at)
    if answer is None:
        return None
    users = getattr(at.asked, name)
    ours = users if users is not None else getattr(chosen, name)
    if name == "draft_moe" and ours is None:
        # vLLM 0.32.0, config/speculative.py: the draft follows the model.
        users, ours = at.asked.moe, at.asked.moe or chosen.moe
    row = next(iter(chosen.rows.get(name, ())), None)
    why, source = (row.why, row.source) if row else ("No row says anything.", "-")
    if users is not None:
        who = name if getattr(at.asked, name) is not None else "moe"
        yours = ("You asked for it.", "the command line")
        why, source = at.asked.by.get(who, yours)
    return Kernel(
        part=_NAMES[name],
        scheme=answer.scheme,
        backend=ours or "auto",
        kernel=answer.named(ours) or "not known",
        stock=answer.auto or "none",
        why=why,
        source=source,
    )


def _answer(name: str, at: _At) -> _Answer | None:
    """Return what vLLM says of a part; None where it was not asked."""
    where = (at.stock, at.target, at.situation)
    if name == "attention":
        found = attention_cell(*where, at.asked.kv_cache_dtype or "auto")
        offers = {one: one for one in found.offers} if found else {}
        return _Answer(found.kind, found.auto, offers) if found else None
    if name == "linear":
        other = linear_cell(*where)
        return _Answer(other.scheme, other.auto, other.offers) if other else None
    cell = moe_cell(*where) if name == "moe" else draft_cell(*where)
    return _Answer(cell.scheme, cell.auto, cell.offers) if cell else None
