"""Which GPUs may be used together, and what each lets an engine take. Pure."""

import math
from typing import Final

from nvfp4_serve.host.capability import KNOWN
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.units import GIB

#: vLLM 0.32.0, quantization/modelopt.py, ModelOptNvFp4Config.get_min_capability.
_OLDEST: Final = (7, 5)
#: The default of vLLM >= 0.20, a fraction of the whole memory.
_UTILIZATION: Final = 0.92
#: Where the GPU shares the machine's memory: vLLM's recipes for GB10 use 0.5 to 0.85.
_UTILIZATION_UNIFIED: Final = 0.80
#: There the fraction is of all the machine's memory; at 0.90 to 0.92 machines hang.
MOST_UNIFIED: Final = 0.90
#: What is left to the system there, of what is available when the engine starts.
_RESERVE_UNIFIED: Final = 8 * GIB


def kinds_of(gpus: tuple[Gpu, ...]) -> list[tuple[Gpu, ...]]:
    """Return the GPUs that can run NVFP4, by kind; those with the most memory first."""
    kinds: dict[tuple[int, tuple[int, int], str], list[Gpu]] = {}
    for gpu in gpus:
        if why_unused(gpu) is None:
            # A process can use one MIG instance, so each is a kind of its own.
            instance = gpu.uuid if gpu.mig_parent else ""
            kind = (gpu.memory_total or 0, gpu.compute_capability, instance)
            kinds.setdefault(kind, []).append(gpu)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]) * item[0][0])
    return [
        tuple(sorted(like, key=lambda gpu: -(gpu.memory_free or 0)))
        for _, like in ordered
    ]


def why_unused(gpu: Gpu) -> str | None:
    """Return why no plan may use ``gpu``; None where one may."""
    major, minor = gpu.compute_capability
    if gpu.compute_capability < _OLDEST:
        return (
            f"{gpu.name}: compute capability {major}.{minor}; NVFP4 needs 7.5 in vLLM"
        )
    if is_unknown(gpu):
        # It may have no kernel in the engine, or another that is right for it.
        return (
            f"{gpu.name}: compute capability {major}.{minor} is not among those that "
            "the rules of this version know; look for a newer launcher"
        )
    if not gpu.memory_total and not gpu.integrated:
        return f"{gpu.name}: it does not say how much memory it has"
    return None


def is_unknown(gpu: Gpu) -> bool:
    """Return whether the rules say nothing of GPUs of that capability."""
    return gpu.compute_capability >= _OLDEST and gpu.compute_capability not in KNOWN


def is_unified(gpu: Gpu) -> bool:
    """Return whether the GPU shares the machine's memory."""
    return gpu.memory_total is None


def total_memory(gpu: Gpu, host: Host) -> int:
    """Return the memory of which ``--gpu-memory-utilization`` is a fraction."""
    return gpu.memory_total or host.memory_total


def default_utilization(gpu: Gpu) -> float:
    """Return the fraction that is taken where all of the memory is free."""
    return _UTILIZATION_UNIFIED if is_unified(gpu) else _UTILIZATION


def utilization(gpus: tuple[Gpu, ...], host: Host) -> float:
    """Return the fraction of each GPU's memory to take: the default, or what is free.

    Every GPU gets the same: that of the fullest.
    """
    return min(_utilization(gpu, host) for gpu in gpus)


def _utilization(gpu: Gpu, host: Host) -> float:
    share = free_memory(gpu, host) / total_memory(gpu, host)
    return min(default_utilization(gpu), math.floor(share * 100) / 100)


def free_memory(gpu: Gpu, host: Host) -> int:
    """Return the bytes that an engine may take now, whatever fraction it is told."""
    if is_unified(gpu):
        most = int(MOST_UNIFIED * host.memory_total)
        return max(0, min(host.memory_available - _RESERVE_UNIFIED, most))
    return (gpu.memory_total or 0) if gpu.memory_free is None else gpu.memory_free


def has_free(gpu: Gpu, host: Host, fraction: float) -> bool:
    """Return whether that much of the GPU's memory is free, as vLLM wants at start."""
    return free_memory(gpu, host) >= int(fraction * total_memory(gpu, host))


def batch_sizes(gpu: Gpu, host: Host, wishes: Wishes) -> tuple[int, int]:
    """Return the tokens of one step and the sequences that vLLM takes at once.

    Source:
        vLLM 0.32.0, engine/arg_utils.py, ``get_batch_defaults``, for the server.
    """
    total = total_memory(gpu, host)
    if total >= 160 * GIB:
        batched, seqs = 16384, 1024
    elif total >= 70 * GIB:
        batched, seqs = 8192, 1024
    else:
        batched, seqs = 2048, 256
    return wishes.batched or batched, wishes.seqs or seqs
