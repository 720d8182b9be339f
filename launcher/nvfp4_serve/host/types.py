"""What is known of a machine. Values only; the same as the JSON of ``--facts``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, as NVML describes it.

    Attributes:
        uuid: ``GPU-...``; stable, unlike an index.
        name: For people only; nothing is decided by a name.
        compute_capability: ``(12, 1)`` for sm_121.
        memory_total: Bytes; None where NVML does not say (unified memory).
        memory_free: Bytes that nobody uses now; None where NVML does not say.
    """

    uuid: str
    name: str
    compute_capability: tuple[int, int]
    memory_total: int | None
    memory_free: int | None


@dataclass(frozen=True, slots=True)
class Host:
    """One machine.

    Attributes:
        recorded: True when read from a machine, False when written by hand.
        architecture: ``x86_64`` or ``aarch64``.
        cpus: CPUs that this process may run on.
        numa_nodes: Memory nodes; more than one on machines of several sockets.
        memory_total: Bytes (``MemTotal``, or the cgroup's limit if smaller).
        memory_available: Bytes (``MemAvailable``, or what the cgroup leaves).
        cxx_compiler: Path of a C++ compiler, which torch.compile needs on a CPU.
        driver: NVIDIA driver version.
        gpus: The GPUs that this process may use.
    """

    recorded: bool
    architecture: str
    cpus: int
    numa_nodes: int
    memory_total: int
    memory_available: int
    cxx_compiler: str | None
    driver: str | None
    gpus: tuple[Gpu, ...]
