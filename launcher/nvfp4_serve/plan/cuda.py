"""The rules for NVIDIA GPUs in general; a table for each kind comes later. Pure."""

from itertools import groupby
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.memory import kv_bytes_per_token, longest_that_fits
from nvfp4_serve.plan.types import Budget, Request
from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.units import GIB, format_bytes

ENGINE: Final = f"vllm=={VLLM_VERSION}"

#: vLLM 0.32.0, quantization/modelopt.py, ModelOptNvFp4Config.get_min_capability.
_OLDEST: Final = (7, 5)
#: The default of vLLM >= 0.20, a fraction of the whole memory.
_UTILIZATION: Final = 0.92
#: Where the GPU shares the machine's memory: vLLM's recipes for GB10 use 0.5 to 0.85.
_UTILIZATION_UNIFIED: Final = 0.80
#: CUDA context, activations and CUDA graphs; an allowance, not a measurement.
_OVERHEAD: Final = 4 * GIB
_BLOCK: Final = 16


def size_cuda(
    layout: Layout, host: Host, request: Request
) -> tuple[tuple[Gpu, ...], Budget, int | None]:
    """Return the GPUs to use, where the memory of each goes, and the context.

    The fewest GPUs of one kind that hold the weights and one whole context win.

    Raises:
        DoesNotFitError: No number of like GPUs does; with the arithmetic of each.
    """
    tried: list[str] = []
    for kind in _kinds(host.gpus):
        for count in _counts(len(kind), layout):
            budget, longest = _size(layout, host, request, kind[0], count)
            if longest is not None or (budget.kv_cache > 0 and _unsized(layout)):
                return kind[:count], budget, longest
            tried.append(_row(kind[0], count, budget))
    raise DoesNotFitError(
        f"{layout.model} does not fit the GPUs of this machine.",
        evidence=tuple(tried) or tuple(_too_old(gpu) for gpu in host.gpus),
        fix=(
            "Ask for a shorter context with `--max-model-len`, use more or larger "
            "GPUs, or serve on the CPU with `CUDA_VISIBLE_DEVICES=` (empty)."
        ),
    )


def cuda_choices(gpus: tuple[Gpu, ...]) -> tuple[Choice, ...]:
    """Return what GPUs need beyond what every machine needs."""
    unified = gpus[0].memory_total is None
    return (
        Choice(
            "--tensor-parallel-size",
            str(len(gpus)),
            f"The fewest GPUs of one kind that hold the weights: {len(gpus)}.",
            "the budget of this plan",
        ),
        Choice(
            "--gpu-memory-utilization",
            str(_utilization(gpus[0])),
            "The GPU shares the machine's memory; the rest is the system's."
            if unified
            else "vLLM's own default, said here because the budget counts on it.",
            "vLLM 0.33.0, recipes for GB10 (0.5 to 0.85)"
            if unified
            else "vLLM 0.32.0, config/cache.py, gpu_memory_utilization",
        ),
    )


def _kinds(gpus: tuple[Gpu, ...]) -> list[tuple[Gpu, ...]]:
    """Return the GPUs that can run NVFP4, by kind, the most memory first."""

    def kind(gpu: Gpu) -> tuple[int, tuple[int, int]]:
        return gpu.memory_total or 0, gpu.compute_capability

    able = [gpu for gpu in gpus if gpu.compute_capability >= _OLDEST]
    ordered = sorted(able, key=kind, reverse=True)
    kinds = [tuple(group) for _, group in groupby(ordered, key=kind)]
    return sorted(kinds, key=lambda k: len(k) * kind(k[0])[0], reverse=True)


def _counts(available: int, layout: Layout) -> list[int]:
    """Return the powers of two that KV heads can be shared among, smallest first."""
    heads = layout.attention.kv_heads if layout.attention else None
    return [
        count
        for count in (1, 2, 4, 8, 16)
        if count <= available
        and (heads is None or heads % count == 0 or count % heads == 0)
    ]


def _size(
    layout: Layout, host: Host, request: Request, gpu: Gpu, count: int
) -> tuple[Budget, int | None]:
    total = gpu.memory_total or host.memory_total
    usable = int(total * _utilization(gpu))
    weights = -(-layout.weight_bytes // count)
    cache = usable - weights - _OVERHEAD
    budget = Budget(
        total=total,
        weights=weights,
        overhead=_OVERHEAD,
        kv_cache=max(0, cache),
        free=total - usable,
    )
    wanted = request.max_model_len or layout.max_position_embeddings
    per_token = kv_bytes_per_token(layout)
    if cache <= 0 or per_token is None or wanted is None:
        return budget, None
    heads = layout.attention.kv_heads if layout.attention else 1
    longest = longest_that_fits(
        cache, -(-per_token // min(count, heads)), wanted, _BLOCK
    )
    too_short = request.max_model_len is not None and longest != wanted
    return budget, None if too_short else longest


def _unsized(layout: Layout) -> bool:
    return kv_bytes_per_token(layout) is None or layout.max_position_embeddings is None


def _utilization(gpu: Gpu) -> float:
    return _UTILIZATION_UNIFIED if gpu.memory_total is None else _UTILIZATION


def _row(gpu: Gpu, count: int, budget: Budget) -> str:
    return (
        f"{count} x {gpu.name}: weights {format_bytes(budget.weights)} + engine "
        f"{format_bytes(budget.overhead)} + KV cache, of "
        f"{format_bytes(budget.total - budget.free)} usable each"
    )


def _too_old(gpu: Gpu) -> str:
    major, minor = gpu.compute_capability
    return f"{gpu.name}: compute capability {major}.{minor}; NVFP4 needs 7.5 in vLLM"
