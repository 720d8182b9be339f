"""The rules for NVIDIA GPUs in general; a table for each kind comes later. Pure."""

import math
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.memory import kv_bytes_per_token, longest_that_fits
from nvfp4_serve.plan.types import Budget, Request
from nvfp4_serve.plan.widths import too_narrow
from nvfp4_serve.plan.wishes import Wishes
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
#: The least KV cache where the bytes of a token are not known here.
_UNSIZED_CACHE: Final = 4 * GIB
_BLOCK: Final = 16


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to use GPUs of one kind.

    Attributes:
        gpus: Those to use.
        tensor_parallel: How many share each layer.
        utilization: The fraction of each GPU's memory that the engine may take.
        budget: Where the memory of the fullest goes.
        longest: The context, in tokens; None where it cannot be computed here.
        is_whole: The context is all that was wanted.
    """

    gpus: tuple[Gpu, ...]
    tensor_parallel: int
    utilization: float
    budget: Budget
    longest: int | None
    is_whole: bool


def size_cuda(layout: Layout, host: Host, request: Request, wishes: Wishes) -> Fit:
    """Return which GPUs to use, where their memory goes, and the context.

    The fewest GPUs of one kind that hold the weights and one whole context; where no
    number does, and no context was asked for, the way with the longest context.

    Raises:
        DoesNotFitError: No way holds the weights and what was asked for.
    """
    tried = [
        _fit(layout, host, request, wishes, kind[: count * _groups(wishes)])
        for kind in _kinds(host.gpus)
        for count in _counts(len(kind), layout, wishes)
    ]
    able = [fit for fit in tried if fit.is_whole]
    if not able and request.max_model_len is None:
        able = sorted(
            (fit for fit in tried if fit.longest), key=lambda fit: -(fit.longest or 0)
        )
    if able:
        return able[0]
    raise DoesNotFitError(
        f"{layout.model} does not fit the GPUs of this machine.",
        evidence=tuple(map(_row, tried))
        or tuple(_unused(g, wishes) for g in host.gpus),
        fix=(
            "Ask for a shorter context with `--max-model-len`, use more or larger "
            "GPUs, or serve on the CPU with `CUDA_VISIBLE_DEVICES=` (empty)."
        ),
    )


def cuda_choices(fit: Fit) -> tuple[Choice, ...]:
    """Return what GPUs need beyond what every machine needs."""
    return (
        Choice(
            "CUDA_VISIBLE_DEVICES",
            ",".join(gpu.uuid for gpu in fit.gpus),
            "The GPUs of this plan, by their UUIDs: indices change.",
            "CUDA C++ Programming Guide, CUDA environment variables",
        ),
        Choice(
            "--tensor-parallel-size",
            str(fit.tensor_parallel),
            "The fewest GPUs of one kind that hold the weights and the context.",
            "the budget of this plan",
        ),
        Choice(
            "--gpu-memory-utilization", f"{fit.utilization:g}", *_why_utilization(fit)
        ),
    )


def _why_utilization(fit: Fit) -> tuple[str, str]:
    gpu = fit.gpus[0]
    if fit.utilization < _default_utilization(gpu):
        return (
            "As much as is free now; vLLM refuses to start with more.",
            "vLLM 0.32.0, v1/worker/utils.py, request_memory",
        )
    if gpu.memory_total is None:
        return (
            "The GPU shares the machine's memory; the rest is the system's.",
            "vLLM 0.33.0, recipes for GB10 (0.5 to 0.85)",
        )
    return (
        "vLLM's own default, said here because the budget counts on it.",
        "vLLM 0.32.0, config/cache.py, gpu_memory_utilization",
    )


def _kinds(gpus: tuple[Gpu, ...]) -> list[tuple[Gpu, ...]]:
    """Return the GPUs that can run NVFP4, by kind; those with the most memory first."""
    kinds: dict[tuple[int, tuple[int, int], str], list[Gpu]] = {}
    for gpu in gpus:
        if gpu.compute_capability >= _OLDEST and _has_memory(gpu):
            # A process can use one MIG instance, so each is a kind of its own.
            instance = gpu.uuid if gpu.mig_parent else ""
            kind = (gpu.memory_total or 0, gpu.compute_capability, instance)
            kinds.setdefault(kind, []).append(gpu)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]) * item[0][0])
    return [
        tuple(sorted(like, key=lambda gpu: -(gpu.memory_free or 0)))
        for _, like in ordered
    ]


def _has_memory(gpu: Gpu) -> bool:
    return gpu.memory_total is not None or gpu.integrated


def _groups(wishes: Wishes) -> int:
    """Return how many groups of tensor-parallel GPUs the user asked for."""
    return (wishes.pipeline_parallel or 1) * (wishes.data_parallel or 1)


def _counts(available: int, layout: Layout, wishes: Wishes) -> list[int]:
    """Return the numbers of GPUs that can share each layer, smallest first.

    Source:
        vLLM 0.32.0, config/model.py, verify_with_parallel_config: the number of
        attention heads must be divisible by it; and ``too_narrow``.
    """
    most = available // _groups(wishes)
    if wishes.tensor_parallel is not None:
        return [wishes.tensor_parallel] if wishes.tensor_parallel <= most else []
    heads = layout.attention_heads
    return [
        count
        for count in (1, 2, 4, 8, 16)
        if count <= most
        and (heads is None or heads % count == 0)
        and not too_narrow(layout, count, wishes)
    ]


def _fit(
    layout: Layout,
    host: Host,
    request: Request,
    wishes: Wishes,
    gpus: tuple[Gpu, ...],
) -> Fit:
    count = len(gpus) // _groups(wishes)
    utilization = wishes.utilization or min(_utilization(gpu, host) for gpu in gpus)
    budget = _budget(layout, host, wishes, gpus, utilization)
    wanted = request.max_model_len or layout.max_position_embeddings
    per_token = kv_bytes_per_token(layout, wishes.kv_dtype)
    if per_token is None or wanted is None:
        longest = request.max_model_len
        is_whole = budget.kv_cache >= _UNSIZED_CACHE
    else:
        heads = layout.attention.kv_heads if layout.attention else 1
        share = -(-per_token // min(count, heads))
        longest = longest_that_fits(budget.kv_cache, share, wanted, _BLOCK)
        is_whole = longest == wanted
    return Fit(gpus, count, utilization, budget, longest, is_whole)


def _budget(
    layout: Layout,
    host: Host,
    wishes: Wishes,
    gpus: tuple[Gpu, ...],
    utilization: float,
) -> Budget:
    total = gpus[0].memory_total or host.memory_total
    usable = int(total * utilization)
    shared_by = len(gpus) // (wishes.data_parallel or 1)
    weights = -(-layout.weight_bytes // shared_by)
    left = max(0, usable - weights - _OVERHEAD)
    cache = left if wishes.kv_cache is None else min(left, wishes.kv_cache)
    return Budget(
        total=total,
        weights=weights,
        overhead=_OVERHEAD,
        kv_cache=cache,
        free=total - weights - _OVERHEAD - cache,
    )


def _default_utilization(gpu: Gpu) -> float:
    return _UTILIZATION_UNIFIED if gpu.memory_total is None else _UTILIZATION


def _utilization(gpu: Gpu, host: Host) -> float:
    """Return the fraction of the memory to take: the default, or what is free."""
    if gpu.memory_total is None:
        share = host.memory_available / host.memory_total
    elif gpu.memory_free is None:
        share = 1.0
    else:
        share = gpu.memory_free / gpu.memory_total
    return min(_default_utilization(gpu), math.floor(share * 100) / 100)


def _row(fit: Fit) -> str:
    budget = fit.budget
    usable = int(budget.total * fit.utilization)
    return (
        f"{len(fit.gpus)} x {fit.gpus[0].name}: weights "
        f"{format_bytes(budget.weights)} + engine {format_bytes(budget.overhead)} + KV "
        f"cache, of {format_bytes(usable)} usable each "
        f"({fit.utilization:g} of {format_bytes(budget.total)})"
    )


def _unused(gpu: Gpu, wishes: Wishes) -> str:
    major, minor = gpu.compute_capability
    if gpu.compute_capability < _OLDEST:
        return (
            f"{gpu.name}: compute capability {major}.{minor}; NVFP4 needs 7.5 in vLLM"
        )
    if not _has_memory(gpu):
        return f"{gpu.name}: it does not say how much memory it has"
    count = (wishes.tensor_parallel or 1) * _groups(wishes)
    return f"{gpu.name}: there are fewer of its kind than the {count} asked for"
