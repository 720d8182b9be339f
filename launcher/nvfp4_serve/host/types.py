"""What is known of a machine. Values only; the same as the JSON of ``--facts``."""

import enum
from dataclasses import dataclass
from typing import Final


class Attach(enum.StrEnum):
    """How a container engine is asked for GPUs."""

    DEVICE_REQUEST = "device-request"  # `--gpus`: DeviceRequest, capabilities [["gpu"]]
    CDI = "cdi"  # `--device nvidia.com/gpu=...`: DeviceRequest, driver "cdi"
    RUNTIME = "runtime"  # `--runtime nvidia`
    NONE = "none"


class Fabric(enum.StrEnum):
    """What the fabric of an NVSwitch machine says: NVML's own words, and ``failed``."""

    NOT_SUPPORTED = "not-supported"
    NOT_STARTED = "not-started"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"  # completed, with a status that is not success


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG instance of a GPU, as NVML describes it.

    Attributes:
        uuid: ``GPU-...`` or ``MIG-...``; stable, unlike an index.
        name: For people only; nothing is decided by a name.
        compute_capability: ``(12, 1)`` for sm_121.
        memory_total: Bytes; None where the GPU shares the machine's memory, and where
            NVML does not say.
        memory_free: Bytes that nobody uses now; None as above.
        integrated: It shares the machine's memory (GB10, Thor).
        mig_parent: UUID of the GPU that this MIG instance is a part of.
        pcie_generation: Of the link that GPU and slot can make; None: not known.
        pcie_width: Lanes of that link; None: not known.
        nvlinks: NVLink links that it has; None: not known.
        nvlinks_active: Those that are up; None: not known.
        fabric: Of NVSwitch machines; None: not known.
        not_known: What NVML would not say, and in which words.
    """

    uuid: str
    name: str
    compute_capability: tuple[int, int]
    memory_total: int | None
    memory_free: int | None
    integrated: bool = False
    mig_parent: str | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    nvlinks: int | None = None
    nvlinks_active: int | None = None
    fabric: Fabric | None = None
    not_known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpus:
    """The driver and its GPUs.

    Attributes:
        driver: Its version.
        gpus: GPUs, and in place of a GPU with MIG enabled its instances.
        cuda_driver: The newest CUDA that the driver speaks.
        count: How many GPUs NVML lists; None without a driver.
        unusable: GPUs that are there and cannot be used as they are, and why.
    """

    driver: str | None
    gpus: tuple[Gpu, ...]
    cuda_driver: tuple[int, int] | None = None
    count: int | None = None
    unusable: tuple[str, ...] = ()


NO_GPUS: Final = Gpus(driver=None, gpus=())


@dataclass(frozen=True, slots=True)
class Container:
    """The container engine, and how GPUs attach to it.

    Attributes:
        engine: ``docker`` or ``podman``; None where none answers.
        address: ``unix:///var/run/docker.sock``; None where no socket was found.
        remote: It runs on another machine, which this one's NVML does not describe.
        version: Of the engine.
        rootless: It runs without root.
        runtimes: OCI runtimes that it knows by name.
        cdi_spec_dirs: Folders where it looks for CDI specs.
        cdi_devices: CDI names of NVIDIA GPUs.
        attach: How to ask it for GPUs.
        reason: Why in that way.
        problem: Why it could not be asked.
        fix: What to do about it.
    """

    engine: str | None
    address: str | None
    remote: bool
    version: str | None
    rootless: bool | None
    runtimes: tuple[str, ...]
    cdi_spec_dirs: tuple[str, ...]
    cdi_devices: tuple[str, ...]
    attach: Attach
    reason: str
    problem: str | None = None
    fix: str | None = None


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
        gpus: The GPUs and MIG instances that this process may use.
        cuda_driver: The newest CUDA that the driver speaks, ``(13, 0)``.
        nvml_gpus: How many GPUs NVML lists; None where it was not asked.
        kernel_gpus: How many the kernel's driver lists; None where it lists nothing.
        unusable: GPUs that are there and cannot be used as they are, and why.
        wsl: It is Windows' Linux.
        wsl_nvml: Where Windows put its NVML.
        gpus_hidden: ``CUDA_VISIBLE_DEVICES`` hides every GPU; NVML was not asked.
        in_container: This process runs in a container.
        container: None where it was not looked for; only ``host`` looks.
        hub_free: Bytes free on the disk of the Hub's cache; None: not known.
        note: Where the numbers of a file written by hand come from.
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
    cuda_driver: tuple[int, int] | None = None
    nvml_gpus: int | None = None
    kernel_gpus: int | None = None
    unusable: tuple[str, ...] = ()
    wsl: bool = False
    wsl_nvml: str | None = None
    gpus_hidden: bool = False
    in_container: bool = False
    container: Container | None = None
    hub_free: int | None = None
    note: str | None = None
