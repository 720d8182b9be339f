"""Where the memory goes when GPUs share a model in one way. Pure arithmetic."""

from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan import kinds
from nvfp4_serve.plan.backends import Backends, choose_backends
from nvfp4_serve.plan.kernels import target_of
from nvfp4_serve.plan.kv import Cache, Paging, lay_out
from nvfp4_serve.plan.memory import (
    activation_bytes,
    cache_value_bytes,
    context_bytes,
    graph_bytes,
    padding_bytes,
    repack_bytes,
)
from nvfp4_serve.plan.types import Budget
from nvfp4_serve.plan.weights import Split, Weights, stage_layers, stage_weights
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.recipe.backend_rules import BackendRules
from nvfp4_serve.units import GIB

#: The least KV cache where the bytes of a token are not known here.
UNSIZED_CACHE: Final = 4 * GIB
#: Tokens of one block, where nobody asked for another. vLLM 0.32.0, config/cache.py.
_BLOCK: Final = 16
#: Where DeepSeek-V4's cache has FlashMLA's format; elsewhere its pages are those of
#: FlashInfer, not computed here. vLLM 0.32.0, models/deepseek_v4/nvidia.
_PACKED: Final = (9, 10)
_TRTLLM: Final = "flashinfer_trtllm"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be served, and what the user asked for beside it.

    Attributes:
        length: ``--max-model-len``, where it was asked for.
        rules: Which kernels run what; some want another cache or more memory.
    """

    layout: Layout
    host: Host
    wishes: Wishes
    length: int | None
    rules: BackendRules

    def backends(self, gpus: tuple[Gpu, ...], split: Split) -> Backends:
        """Return the kernels of the rules, whatever the user asked for."""
        return choose_backends(self.layout, target_of(gpus, split), self.rules)

    @property
    def wanted(self) -> int | None:
        """Tokens of one whole context."""
        return self.length or self.layout.max_position_embeddings


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to use GPUs of one kind.

    Attributes:
        gpus: Those to use.
        split: How they share the model.
        utilization: The fraction of each GPU's memory that the engine may take.
        budgets: Where the memory of each goes, in the order of ``gpus``.
        longest: The context, in tokens; None where it cannot be computed here, or none
            fits.
        wanted: The context that was to be.
        context: Bytes in which that fits, on the fullest GPU; None: not known.
        tokens: Tokens that all of the cache holds; None: not known.
        missing: Bytes that the fullest GPU lacks for the weights and that context.
        seqs: Sequences at once.
    """

    gpus: tuple[Gpu, ...]
    split: Split
    utilization: float
    budgets: tuple[Budget, ...]
    longest: int | None
    wanted: int | None
    context: int | None
    tokens: int | None
    missing: int
    seqs: int

    @property
    def budget(self) -> Budget:
        """Where the memory of the fullest GPU goes."""
        return min(self.budgets, key=lambda budget: (budget.kv_cache, budget.free))

    @property
    def is_whole(self) -> bool:
        """Whether all that was wanted fits."""
        return self.missing == 0


def fit(asked: Asked, gpus: tuple[Gpu, ...], split: Split) -> Fit:
    """Return where the memory goes when ``gpus`` share the model as ``split`` says."""
    host, wishes, wanted = asked.host, asked.wishes, asked.wanted
    share = wishes.utilization or kinds.utilization(gpus, host)
    batched, seqs = kinds.batch_sizes(gpus[0], host, wishes)
    backends = asked.backends(gpus, split)
    moe = _moe(asked, gpus[0], backends)
    seqs = wishes.seqs or few_sequences(asked, gpus[0]) or seqs
    stages = _stages(asked, split)
    held = [_weights(asked, split, layers, moe) for layers in stages]
    made = [
        _budget(asked, gpus[0], split, w, share=share, batch=(batched, seqs), moe=moe)
        for w in held
    ]
    caches = [
        _cache(asked, gpus[0], split, layers, (batched, backends)) for layers in stages
    ]
    known = [cache for cache in caches if cache is not None]
    sized = len(known) == len(caches) and wanted is not None
    cells = list(zip(known, made, strict=False)) if sized else []
    length = wanted or 0
    lengths = [cache.longest_in(room.kv_cache, length) for cache, room in cells]
    counts = [cache.tokens_in(room.kv_cache, length) for cache, room in cells]
    needs = [cache.bytes_for(length) for cache, _ in cells] or [UNSIZED_CACHE]
    full = not cells or None in lengths
    return Fit(
        gpus=gpus,
        split=split,
        utilization=share,
        budgets=_each(gpus, split, made),
        longest=None if full else min(n for n in lengths if n is not None),
        wanted=wanted,
        context=max(needs) if cells else None,
        tokens=min(counts) * split.data if counts else None,
        missing=max(
            _missing(room, need, wishes)
            for room, need in zip(made, needs * len(made), strict=False)
        ),
        seqs=seqs,
    )


def few_sequences(asked: Asked, gpu: Gpu) -> int | None:
    """Return how few sequences there should be at once; None: as many as vLLM says.

    Where the GPU shares the machine's memory, 256 at once take what the system needs.
    """
    if not kinds.is_unified(gpu):
        return None
    is_big = 2 * asked.layout.weight_bytes > asked.host.memory_total
    return 4 if is_big else 8


def _stages(asked: Asked, split: Split) -> list[range | None]:
    layers = asked.layout.widths.layers
    if split.pipeline == 1 or layers is None:
        return [None] * split.pipeline
    return list(stage_layers(layers, split.pipeline))


def _weights(
    asked: Asked, split: Split, layers: range | None, moe: str | None
) -> Weights:
    layout = asked.layout
    held = stage_weights(layout.parts, split, layers, draft=asked.wishes.drafts)
    absorbed = layout.widths.absorbed // split.tensor // split.pipeline
    grown = padding_bytes(layout, split, held, hidden_step=moe == _TRTLLM)
    return Weights(
        held.replicated,
        held.sharded,
        held.padded + absorbed + grown,
        held.experts,
        held.all_experts,
    )


def _budget(
    asked: Asked,
    gpu: Gpu,
    split: Split,
    weights: Weights,
    *,
    share: float,
    batch: tuple[int, int],
    moe: str | None,
) -> Budget:
    total = kinds.total_memory(gpu, asked.host)
    usable = int(total * share)
    if asked.wishes.kv_cache is not None:
        # The fraction does not hold then: vLLM 0.32.0, determine_available_memory.
        usable = kinds.free_memory(gpu, asked.host)
    context = context_bytes(split)
    activations = activation_bytes(asked.layout, split, *batch)
    graphs = graph_bytes(eager=asked.wishes.eager)
    overhead = context + activations + graphs
    left = max(0, usable - weights.total - overhead)
    cache = left if asked.wishes.kv_cache is None else asked.wishes.kv_cache
    return Budget(
        total=total,
        weights=weights.total,
        overhead=overhead,
        kv_cache=cache,
        free=total - weights.total - overhead - cache,
        usable=usable,
        replicated=weights.replicated,
        sharded=weights.sharded,
        padded=weights.padded,
        context=context,
        activations=activations,
        graphs=graphs,
        repack=repack_bytes(weights, marlin=moe == "marlin"),
    )


def _missing(room: Budget, need: int, wishes: Wishes) -> int:
    """Return what is missing while it loads, or once it serves."""
    loads = room.weights + room.context + room.repack - room.usable
    cache = need if wishes.kv_cache is None else max(need, wishes.kv_cache)
    serves = room.weights + room.overhead + cache - room.usable
    short = need - room.kv_cache
    return max(0, loads, serves, short)


def _cache(
    asked: Asked,
    gpu: Gpu,
    split: Split,
    layers: range | None,
    way: tuple[int, Backends],
) -> Cache | None:
    wishes, shape = asked.wishes, asked.layout.kv
    batched, backends = way
    if shape is None or (shape.is_packed and gpu.compute_capability[0] not in _PACKED):
        return None
    paging = Paging(
        value_bytes=cache_value_bytes(
            asked.layout, wishes.kv_dtype or backends.kv_cache_dtype
        ),
        block=wishes.block or backends.block_size or _BLOCK,
        tensor=split.tensor,
        # Scheduling runs one step ahead: vLLM 0.32.0, max_concurrent_batches.
        in_flight=(split.pipeline + 1) * batched,
        speculated=wishes.speculated,
        keeps_prefixes=wishes.keeps_prefixes is not False,
        draft=wishes.drafts,
    )
    return lay_out(shape, paging, layers)


def _each(
    gpus: tuple[Gpu, ...], split: Split, stages: list[Budget]
) -> tuple[Budget, ...]:
    """Return the budget of each GPU; those of one stage follow each other."""
    return tuple(
        replace(stages[number // split.tensor % split.pipeline], device=gpu.name)
        for number, gpu in enumerate(gpus)
    )


def _moe(asked: Asked, gpu: Gpu, backends: Backends) -> str | None:
    """Return which kernels run the routed experts; None: not one that matters here.

    Where neither the user nor a rule says it, vLLM takes the first that can: 0.32.0,
    fused_moe/oracle/nvfp4.py.
    """
    if asked.wishes.moe_backend not in (None, "auto"):
        return asked.wishes.moe_backend
    if backends.moe is not None:
        return backends.moe
    schemes = asked.layout.schemes.get("routed_experts", "").split("+")
    if gpu.compute_capability < (10, 0) or "W4A16_NVFP4" in schemes:
        return "marlin"
    return _TRTLLM if gpu.compute_capability[0] == 10 else None
