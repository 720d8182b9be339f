"""How many workers the CPU engine can start, and the memory that they reach. Pure."""

from collections.abc import Mapping
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.types import Request
from nvfp4_serve.plan.wishes import Wishes

#: Variables with which workers are bound by hand, and the values that do not do so.
#: vLLM 0.32.0, utils/ompmultiprocessing.py, OMPProcessManager.
_BINDING: Final[Mapping[str, tuple[str, ...]]] = {
    "VLLM_CPU_OMP_THREADS_BIND": ("", "auto"),
    "VLLM_CPU_SIM_MULTI_NUMA": ("", "0"),
}


def workers_of(wishes: Wishes) -> int:
    """Return the workers of one copy of the model."""
    return (wishes.tensor_parallel or 1) * (wishes.pipeline_parallel or 1)


def memory_of(host: Host, workers: int) -> int:
    """Return the memory that ``workers`` can take: each is bound to one node's.

    Nodes are taken to be alike. In a container nothing is divided: its limit may be
    less than what one node has.

    Source:
        vLLM 0.32.0, v1/worker/cpu_worker.py, init_cpu_memory_env; in its log: "Memory
        allocations will be strictly bound to these NUMA nodes".
    """
    if host.in_container:
        return host.memory_available
    return host.memory_available * min(workers, host.numa_nodes) // host.numa_nodes


def check_workers(layout: Layout, host: Host, request: Request, wishes: Wishes) -> None:
    """Refuse numbers of workers that end the engine after it was started.

    Raises:
        UsageError: More workers than memory nodes, or copies of a model with experts.
    """
    workers = workers_of(wishes)
    if workers > host.numa_nodes and not _is_bound_by_hand(request):
        raise UsageError(
            f"{workers} workers were asked for; the engine binds each to a memory node "
            f"of its own, and this machine has {host.numa_nodes}.",
            evidence=(
                "vLLM 0.32.0, utils/ompmultiprocessing.py, _get_autobind_cpu_ids",
            ),
            fix="Leave out `--tensor-parallel-size` and `--pipeline-parallel-size`: "
            "one worker uses all cores of its node.",
        )
    if (wishes.data_parallel or 1) > 1 and layout.widths.experts:
        raise UsageError(
            f"{wishes.data_parallel} copies were asked for; of a model with experts "
            "the CPU engine ends at the first request.",
            evidence=("vLLM 0.32.0: `all_gatherv` is not implemented for CPUs; run",),
            fix="Leave out `--data-parallel-size`.",
        )


def _is_bound_by_hand(request: Request) -> bool:
    said = dict(request.environment)
    return any(said.get(name, "") not in idle for name, idle in _BINDING.items())
