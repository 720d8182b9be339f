"""What to say where no way of sharing GPUs holds a model, and what would. Pure."""

from dataclasses import replace
from typing import Final, NamedTuple

from nvfp4_serve.errors import DoesNotFitError, UndecidedError
from nvfp4_serve.host.types import Gpu
from nvfp4_serve.plan import kinds
from nvfp4_serve.plan.fit import UNSIZED_CACHE, Asked, Fit, fit
from nvfp4_serve.plan.parallel import TENSOR_SIZES, cannot_share, keeps_experts_whole
from nvfp4_serve.plan.weights import Split
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.units import GIB, format_bytes

_STAGES: Final = (1, 2, 4, 8)


class _Product(NamedTuple):
    name: str
    compute_capability: tuple[int, int]
    memory: int


#: What one could use instead; the least that each is known to have.
#: Sources: tests/data/hosts, each with its own.
_PRODUCTS: Final = (
    _Product("RTX PRO 6000", (12, 0), 95 * GIB),
    _Product("B200", (10, 0), 178 * GIB),
    _Product("B300", (10, 3), 267 * GIB),
)


def too_big(asked: Asked, tried: tuple[Fit, ...]) -> DoesNotFitError | UndecidedError:
    """Return the refusal: the sum of every way that was tried, and what would fit.

    Where the rules know no GPU of the machine, they cannot decide.
    """
    unused = tuple(map(kinds.why_unused, asked.host.gpus))
    reasons = tuple(dict.fromkeys(why for why in unused if why is not None))
    if not tried and not reasons:
        reasons = _too_few(asked)
    model = asked.layout.model
    problem = f"{model} does not fit the GPUs of this machine."
    kind: type[DoesNotFitError | UndecidedError] = DoesNotFitError
    if not kinds.kinds_of(asked.host.gpus):
        problem = f"No GPU of this machine can be planned for, to serve {model}."
        if any(map(kinds.is_unknown, asked.host.gpus)):
            kind = UndecidedError
    return kind(
        problem,
        evidence=(*(_row(one, asked.wishes) for one in tried), *reasons),
        fix=_fix(asked, tried),
    )


def _too_few(asked: Asked) -> tuple[str, ...]:
    wishes = asked.wishes
    count = (
        (wishes.tensor_parallel or 1)
        * (wishes.pipeline_parallel or 1)
        * (wishes.data_parallel or 1)
    )
    return tuple(
        f"{kind[0].name}: there are {len(kind)}, fewer of its kind than the {count} "
        "asked for"
        for kind in kinds.kinds_of(asked.host.gpus)
    )


def _row(one: Fit, wishes: Wishes) -> str:
    budget = one.budget
    cache = f"at least {format_bytes(UNSIZED_CACHE)} KV cache"
    if one.context is not None:
        cache = f"{format_bytes(one.context)} KV cache of {one.wanted} tokens"
    if wishes.kv_cache is not None and wishes.kv_cache >= (one.context or 0):
        cache = f"{format_bytes(wishes.kv_cache)} KV cache as asked"
    return (
        f"{_named(one)}: weights {format_bytes(budget.weights)} "
        f"({format_bytes(budget.replicated)} whole, {format_bytes(budget.sharded)} "
        f"cut, {format_bytes(budget.padded)} padded) + engine "
        f"{format_bytes(budget.overhead)} + {cache}, of {format_bytes(budget.usable)} "
        f"usable each ({one.utilization:g} of {format_bytes(budget.total)}); missing "
        f"{format_bytes(one.missing)}"
    )


def _named(one: Fit) -> str:
    """Return ``8 x NVIDIA B300, experts whole, 2 stages``."""
    words = [f"{len(one.gpus)} x {one.gpus[0].name}"]
    if one.split.experts:
        words.append("experts whole")
    if one.split.pipeline > 1:
        words.append(f"{one.split.pipeline} stages")
    if one.split.data > 1:
        words.append(f"{one.split.data} copies")
    return ", ".join(words)


def _fix(asked: Asked, tried: tuple[Fit, ...]) -> str:
    ways = [*_shorter(asked, tried), *_freed(asked), *_more(asked), *_others(asked)]
    if ways:
        return f"What would fit: {'; '.join(ways)}."
    if asked.wishes.kv_cache is not None:
        return "Ask for less with `--kv-cache-memory-bytes`, or use more GPUs."
    return (
        "Use more or larger GPUs, or serve on the CPU with `CUDA_VISIBLE_DEVICES=` "
        "(empty)."
    )


def _shorter(asked: Asked, tried: tuple[Fit, ...]) -> list[str]:
    some = [one for one in tried if one.longest]
    if not some or asked.length is None or asked.wishes.kv_cache is not None:
        return []
    best = max(some, key=lambda one: one.longest or 0)
    return [f"`--max-model-len {best.longest}` on {_named(best)}"]


def _freed(asked: Asked) -> list[str]:
    """Return what of this machine would hold it, were the machine's memory free."""
    idle_host = replace(asked.host, memory_available=asked.host.memory_total)
    found = []
    for kind in kinds.kinds_of(asked.host.gpus):
        if kinds.utilization(kind, asked.host) >= kinds.default_utilization(kind[0]):
            continue
        idle = replace(kind[0], memory_free=kind[0].memory_total)
        one = _smallest(replace(asked, host=idle_host), idle)
        if one is not None and len(one.gpus) <= len(kind):
            found.append(f"{_named(one)} as here, once its memory is free")
    return found


def _more(asked: Asked) -> list[str]:
    found = []
    for kind in kinds.kinds_of(asked.host.gpus):
        if kind[0].mig_parent or kinds.is_unified(kind[0]):
            continue
        idle = replace(kind[0], memory_free=kind[0].memory_total)
        if one := _smallest(asked, idle):
            found.append(_named(one))
    return found


def _others(asked: Asked) -> list[str]:
    here = {gpu.compute_capability for gpu in asked.host.gpus}
    found = []
    for product in _PRODUCTS:
        gpu = Gpu("", product.name, product.compute_capability, product.memory, None)
        if product.compute_capability in here:
            continue
        if one := _smallest(asked, gpu):
            found.append(_named(one))
    return found


def _smallest(asked: Asked, gpu: Gpu) -> Fit | None:
    """Return the fewest GPUs like ``gpu`` that hold it, some of them elsewhere."""
    free = replace(
        asked.wishes, tensor_parallel=None, pipeline_parallel=None, data_parallel=None
    )
    wanted = replace(asked, wishes=free)
    ways = sorted(
        (
            Split(size, stages, 1, keeps_experts_whole(asked.layout, size, free))
            for size in TENSOR_SIZES
            for stages in _STAGES
        ),
        key=lambda split: (split.gpus, split.pipeline),
    )
    for split in ways:
        if cannot_share(asked.layout, split):
            continue
        one = fit(wanted, (gpu,) * split.gpus, split)
        if one.is_whole:
            return one
    return None
