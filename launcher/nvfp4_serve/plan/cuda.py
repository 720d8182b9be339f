"""The rules for NVIDIA GPUs: which of them to use, and what they need. Pure."""

from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan import kinds
from nvfp4_serve.plan.fit import Asked, Fit, few_sequences, fit
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.parallel import splits, why_whole
from nvfp4_serve.plan.refusal import too_big
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.units import format_bytes

ENGINE: Final = f"vllm=={VLLM_VERSION}"

#: Weights that take more of the memory than this leave a cache for few requests.
_FULL: Final = 0.75


def size_cuda(asked: Asked) -> Fit:
    """Return which GPUs to use, where their memory goes, and the context.

    The fewest GPUs of one kind that hold one whole context, and whose weights leave a
    quarter of the memory; where no number does, the fewest that hold it; where none
    does that, and no context was asked for, the way with the longest context.

    Raises:
        DoesNotFitError: No way holds the weights and what was asked for.
        UsageError: A fraction of the memory that the machine would not survive.
    """
    layout, host, wishes = asked.layout, asked.host, asked.wishes
    _check_utilization(host, wishes)
    wanted = wishes.utilization or 0.0
    gpus = tuple(gpu for gpu in host.gpus if kinds.has_free(gpu, host, wanted))
    tried = [
        fit(asked, kind[: split.gpus], split)
        for kind in kinds.kinds_of(gpus)
        for split in splits(layout, len(kind), wishes)
    ]
    if able := [one for one in tried if one.is_whole]:
        return next(filter(_is_roomy, able), able[0])
    if asked.length is None and wishes.kv_cache is None:
        some = [one for one in tried if one.longest and _loads(one)]
        if some:
            return max(some, key=lambda one: one.longest or 0)
    raise too_big(asked, tuple(tried))


def _is_roomy(one: Fit) -> bool:
    """Return whether there is room for more than a request or two."""
    return all(room.weights <= _FULL * room.usable for room in one.budgets)


def _loads(one: Fit) -> bool:
    return all(
        room.weights + room.context + room.repack <= room.usable for room in one.budgets
    )


def _check_utilization(host: Host, wishes: Wishes) -> None:
    unified = [gpu for gpu in host.gpus if gpu.integrated]
    wanted = wishes.utilization
    able = [gpu for gpu in host.gpus if kinds.why_unused(gpu) is None]
    if unified and (wishes.utilization or 0) > kinds.MOST_UNIFIED:
        raise UsageError(
            f"`--gpu-memory-utilization` is {wishes.utilization:g}; on "
            f"{unified[0].name} it must be at most {kinds.MOST_UNIFIED:g}.",
            evidence=(
                "the GPU shares the machine's memory; the fraction is of all of it, "
                + format_bytes(host.memory_total),
                "at 0.90 to 0.92, machines of that kind hang and must be switched off",
            ),
            fix="Use 0.8 or less, or name the cache's own size with "
            "`-- --kv-cache-memory-bytes`.",
        )
    if wanted and able and not any(kinds.has_free(g, host, wanted) for g in able):
        best = max(able, key=lambda gpu: kinds.free_memory(gpu, host))
        raise UsageError(
            f"`--gpu-memory-utilization` is {wanted:g}, and less is free now; vLLM "
            "would refuse to start.",
            evidence=(f"{best.name}: {_free(best, host)}",),
            fix="Free memory, or leave the flag out: a plan takes what is free.",
        )


def _free(gpu: Gpu, host: Host) -> str:
    free, total = kinds.free_memory(gpu, host), kinds.total_memory(gpu, host)
    return f"{format_bytes(free)} free of {format_bytes(total)}"


def cuda_choices(asked: Asked, chosen: Fit) -> tuple[Choice, ...]:
    """Return what GPUs need beyond what every machine needs."""
    return (
        Choice(
            "CUDA_VISIBLE_DEVICES",
            ",".join(gpu.uuid for gpu in chosen.gpus),
            "The GPUs of this plan, by their UUIDs: indices change.",
            "CUDA C++ Programming Guide, CUDA environment variables",
        ),
        Choice(
            "--tensor-parallel-size",
            str(chosen.split.tensor),
            _why_number(chosen),
            "the budget of this plan",
        ),
        *_experts(asked, chosen),
        Choice(
            "--gpu-memory-utilization",
            f"{chosen.utilization:g}",
            *_why_utilization(chosen, asked.host),
        ),
        *_sequences(asked, chosen.gpus[0]),
    )


def _why_number(chosen: Fit) -> str:
    if chosen.is_whole and _is_roomy(chosen):
        return (
            "The fewest GPUs of one kind that hold a whole context, with a quarter of "
            "their memory left by the weights."
        )
    if chosen.is_whole:
        return "The fewest GPUs of one kind that hold the weights and a whole context."
    return "No number of GPUs here holds the whole context; this one holds the most."


def _experts(asked: Asked, chosen: Fit) -> tuple[Choice, ...]:
    split = chosen.split
    if not split.experts or asked.wishes.expert_parallel is not None:
        return ()
    why = why_whole(asked.layout, split.sharing_experts)
    return () if why is None else (why,)


def _sequences(asked: Asked, gpu: Gpu) -> tuple[Choice, ...]:
    few = few_sequences(asked, gpu)
    if few is None:
        return ()
    return (
        Choice(
            "--max-num-seqs",
            str(few),
            "By itself the engine prepares for 1024 sequences at once, in memory that "
            "the system needs too.",
            "vLLM 0.33.0, recipes for GB10 (2 to 8)",
        ),
    )


def _why_utilization(chosen: Fit, host: Host) -> tuple[str, str]:
    gpu = chosen.gpus[0]
    if chosen.utilization < kinds.default_utilization(gpu):
        what = ", less what the system needs" if kinds.is_unified(gpu) else ""
        return (
            f"As much as is free now{what}; vLLM refuses to start with more.",
            "vLLM 0.32.0, v1/worker/utils.py, request_memory",
        )
    if kinds.is_unified(gpu):
        return (
            "The GPU shares the machine's memory, "
            + format_bytes(host.memory_total)
            + "; the rest is the system's.",
            "vLLM 0.33.0, recipes for GB10 (0.5 to 0.85)",
        )
    return (
        "vLLM's own default, said here because the budget counts on it.",
        "vLLM 0.32.0, config/cache.py, gpu_memory_utilization",
    )
