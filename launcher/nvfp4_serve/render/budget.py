"""Where the memory goes, as bars of plain characters: one for each GPU."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from nvfp4_serve.plan.types import Budget
from nvfp4_serve.units import format_bytes

#: The parts of a bar, in order: field, sign, and what it is called.
PARTS: Final = (
    ("weights", "#", "weights"),
    ("overhead", "+", "engine"),
    ("kv_cache", "=", "KV cache"),
    ("free", ".", "free"),
)
#: The least that a bar is still a picture with.
_NARROWEST: Final = 10


def render_budget(budgets: tuple[Budget, ...], *, width: int) -> str:
    """Return a bar for each GPU, and what its signs mean, in lines of ``width``.

    GPUs that are alike share one line: ``GPU 0-7``.
    """
    lines, alone = [], len(budgets) == 1
    for label, budget in _grouped(budgets):
        lines += [f"{label}  {budget.device}, {format_bytes(budget.total)}"]
        lines += [f"[{_bar(budget, max(_NARROWEST, width - 2))}]"]
        shown = replace(budget, sharded=0, replicated=0) if alone else budget
        lines += [f"  {sign} {name:<9}{text}" for sign, name, text in _legend(shown)]
    return "\n".join(lines)


def bar_parts(budget: Budget) -> tuple[tuple[str, int], ...]:
    """Return the parts of a bar and their bytes; none of them is below zero."""
    return tuple((name, max(0, getattr(budget, field))) for field, _, name in PARTS)


def _grouped(budgets: tuple[Budget, ...]) -> Iterable[tuple[str, Budget]]:
    first = 0
    for number in range(1, len(budgets) + 1):
        if number < len(budgets) and budgets[number] == budgets[first]:
            continue
        name = f"{first}" if number - first == 1 else f"{first}-{number - 1}"
        yield f"GPU {name}" if budgets[first].context else "memory", budgets[first]
        first = number


def _bar(budget: Budget, width: int) -> str:
    """Return ``width`` signs, shared as the bytes are; what is there has one at least.

    Each part ends where the sum of the parts up to it does.
    """
    sizes = [size for _, size in bar_parts(budget)]
    total = sum(sizes) or 1
    signs, ends, done = "", 0, 0
    for (_, sign, _), size in zip(PARTS, sizes, strict=True):
        ends += size
        until = round(ends * width / total)
        count = max(until - done, 1 if size else 0)
        signs += sign * count
        done += count
    return signs[:width].ljust(width, PARTS[-1][1])


def _legend(budget: Budget) -> Iterable[tuple[str, str, str]]:
    details = {
        "weights": _weights(budget),
        "engine": _engine(budget),
    }
    for (_, sign, name), (_, size) in zip(PARTS, bar_parts(budget), strict=True):
        yield sign, name, format_bytes(size) + details.get(name, "")


def _weights(budget: Budget) -> str:
    cut = (
        (budget.sharded, "cut"),
        (budget.replicated, "on every GPU"),
        (budget.padded, "padded"),
    )
    return _sum(cut)


def _engine(budget: Budget) -> str:
    parts = (
        (budget.activations, "activations"),
        (budget.graphs, "CUDA graphs"),
        (budget.context, "context"),
    )
    return _sum(parts)


def _sum(parts: tuple[tuple[int, str], ...]) -> str:
    given = [f"{format_bytes(size)} {name}" for size, name in parts if size]
    return f" ({', '.join(given)})" if len(given) > 1 else ""
