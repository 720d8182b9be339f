"""NVIDIA GPUs through NVML. The only module that imports pynvml; no CUDA context."""

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Final, TypeVar

import pynvml

from nvfp4_serve.errors import HostError
from nvfp4_serve.host.capability import INTEGRATED
from nvfp4_serve.host.types import NO_GPUS, Fabric, Gpu, Gpus

_T = TypeVar("_T")

#: Errors after which no other answer can be trusted. Every other error of a question
#: that a part, a driver, WSL or a container may leave unanswered is "not known".
_DEAD: Final = (
    pynvml.NVMLError_Uninitialized,
    pynvml.NVMLError_DriverNotLoaded,
    pynvml.NVMLError_LibRmVersionMismatch,
    pynvml.NVMLError_GpuIsLost,
    pynvml.NVMLError_ResetRequired,
    pynvml.NVMLError_Timeout,
    pynvml.NVMLError_IrqIssue,
    pynvml.NVMLError_InsufficientPower,
)

_FABRIC: Final = {
    pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED: Fabric.NOT_SUPPORTED,
    pynvml.NVML_GPU_FABRIC_STATE_NOT_STARTED: Fabric.NOT_STARTED,
    pynvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS: Fabric.IN_PROGRESS,
    pynvml.NVML_GPU_FABRIC_STATE_COMPLETED: Fabric.COMPLETED,
}


@dataclass(slots=True)
class _Questions:
    """Questions about one thing, and what was left unanswered."""

    not_known: list[str] = field(default_factory=list)

    def ask(self, what: str, question: Callable[[], _T]) -> _T | None:
        """Return the answer; None, and a line in ``not_known``, where there is none."""
        try:
            return question()
        except _DEAD:
            raise
        except pynvml.NVMLError as error:
            self.not_known.append(f"{what}: {error}")
            return None


def read_gpus(nvml: ModuleType = pynvml) -> Gpus:
    """Return the driver and every GPU; none where no NVIDIA driver is installed.

    Only how many there are, and the UUID and compute capability of each, must be
    answered. What else is not is not known; `Gpu.not_known` has NVML's words.

    Args:
        nvml: The binding; a test passes one that answers as a broken driver does.

    Raises:
        HostError: A driver is installed and does not answer, or stops answering.
            Serving on the CPU instead would hide that.

    Source:
        nvidia-ml-py 13.615.71.
    """
    try:
        nvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return NO_GPUS
    except pynvml.NVMLError as error:
        raise _broken(error) from error
    try:
        return _gpus(nvml)
    except pynvml.NVMLError as error:
        raise _broken(error) from error
    finally:
        _shut_down(nvml)


def _shut_down(nvml: ModuleType) -> None:
    # A driver that died half-way fails here too; what is said is the first failure.
    with contextlib.suppress(pynvml.NVMLError):
        nvml.nvmlShutdown()


def _gpus(nvml: ModuleType) -> Gpus:
    machine = _Questions()
    driver = machine.ask("driver", nvml.nvmlSystemGetDriverVersion)
    cuda = machine.ask("cuda", nvml.nvmlSystemGetCudaDriverVersion_v2)
    gpus: list[Gpu] = []
    unusable: list[str] = []
    count = int(nvml.nvmlDeviceGetCount())
    for index in range(count):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        gpu = _gpu(nvml, handle)
        if not _has_mig(nvml, handle):
            gpus.append(gpu)
            continue
        instances = _mig_instances(nvml, handle, gpu)
        gpus += instances
        if not instances:
            unusable.append(
                f"GPU {index} ({gpu.name}, {gpu.uuid}) has MIG enabled and no instance"
            )
    return Gpus(
        driver=None if driver is None else str(driver),
        gpus=tuple(gpus),
        # 13000 is 13.0; 12080 is 12.8.
        cuda_driver=None if cuda is None else (cuda // 1000, cuda % 1000 // 10),
        count=count,
        unusable=tuple(unusable),
    )


def _gpu(nvml: ModuleType, handle: object) -> Gpu:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    capability = int(major), int(minor)
    asked = _Questions()
    name = asked.ask("name", lambda: str(nvml.nvmlDeviceGetName(handle)))
    memory = _memory(nvml, handle, asked)
    integrated = _is_integrated(nvml, handle, capability, memory)
    links = asked.ask("nvlink", lambda: _nvlinks(nvml, handle))
    generation = asked.ask(
        "pcie generation", lambda: int(nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle))
    )
    width = asked.ask(
        "pcie width", lambda: int(nvml.nvmlDeviceGetMaxPcieLinkWidth(handle))
    )
    return Gpu(
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        name=name or "unnamed GPU",
        compute_capability=capability,
        memory_total=None if integrated or memory is None else memory[0],
        memory_free=None if integrated or memory is None else memory[1],
        integrated=integrated,
        pcie_generation=generation,
        pcie_width=width,
        nvlinks=None if links is None else links[0],
        nvlinks_active=None if links is None else links[1],
        fabric=asked.ask("fabric", lambda: _fabric(nvml, handle)),
        not_known=tuple(asked.not_known),
    )


def _memory(
    nvml: ModuleType, handle: object, asked: _Questions
) -> tuple[int, int] | None:
    """Return total and free bytes; None where NVML does not say, or says 0."""
    memory = asked.ask("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    if memory is None:
        return None
    if int(memory.total) <= 0:
        asked.not_known.append(f"memory: {int(memory.total)} bytes reported")
        return None
    return int(memory.total), int(memory.free)


def _is_integrated(
    nvml: ModuleType,
    handle: object,
    capability: tuple[int, int],
    memory: tuple[int, int] | None,
) -> bool:
    """Say whether the GPU shares the machine's memory.

    An unanswered memory query alone does not show it: a broken driver or a virtual GPU
    does that too. So a part known to be integrated is, whatever it answers; another one
    is only when it also shares the CPU's page tables (ATS).

    Source:
        GB10 answers ``NVML_ERROR_NOT_SUPPORTED`` to the memory query (NVIDIA DGX Spark
        known issues); GB200 and GH200 have ATS too, and memory of their own.
    """
    if capability in INTEGRATED:
        return True
    if memory is not None:
        return False
    mode = _Questions().ask(
        "addressing", lambda: int(nvml.nvmlDeviceGetAddressingMode(handle))
    )
    return bool(mode == pynvml.NVML_DEVICE_ADDRESSING_MODE_ATS)


def _nvlinks(nvml: ModuleType, handle: object) -> tuple[int, int]:
    """Return how many links there are, and how many are up; (0, 0) without NVLink."""
    states = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            states.append(int(nvml.nvmlDeviceGetNvLinkState(handle, link)))
        except pynvml.NVMLError_NotSupported:
            # NVML's documentation: "if the device doesn't support" NVLink.
            continue
        except pynvml.NVMLError_InvalidArgument:
            # "if link is invalid": the one before was the last.
            break
    return len(states), sum(state == 1 for state in states)


def _fabric(nvml: ModuleType, handle: object) -> Fabric | None:
    info = pynvml.c_nvmlGpuFabricInfo_v2_t()
    nvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    fabric = _FABRIC.get(int(info.state))
    if fabric is Fabric.COMPLETED and int(info.status) != pynvml.NVML_SUCCESS:
        return Fabric.FAILED
    return fabric


def _has_mig(nvml: ModuleType, handle: object) -> bool:
    mode = _Questions().ask("mig", lambda: nvml.nvmlDeviceGetMigMode(handle))
    return mode is not None and int(mode[0]) == pynvml.NVML_DEVICE_MIG_ENABLE


def _mig_instances(nvml: ModuleType, handle: object, parent: Gpu) -> list[Gpu]:
    """Return the MIG instances of ``parent``; their memory is theirs, not its."""
    instances = []
    for index in range(int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except pynvml.NVMLError_NotFound:
            continue
        asked = _Questions()
        name = asked.ask("name", partial(nvml.nvmlDeviceGetName, part))
        memory = _memory(nvml, part, asked)
        instances.append(
            Gpu(
                uuid=str(nvml.nvmlDeviceGetUUID(part)),
                name=str(name or f"{parent.name} MIG"),
                compute_capability=parent.compute_capability,
                memory_total=None if memory is None else memory[0],
                memory_free=None if memory is None else memory[1],
                mig_parent=parent.uuid,
                pcie_generation=parent.pcie_generation,
                pcie_width=parent.pcie_width,
                not_known=tuple(asked.not_known),
            )
        )
    return instances


def _broken(error: pynvml.NVMLError) -> HostError:
    return HostError(
        f"An NVIDIA driver is installed, but NVML answers: {error}.",
        fix=(
            "Run `nvidia-smi` and mend what it says (a driver that was upgraded needs "
            "a reboot). To serve on the CPU, set `CUDA_VISIBLE_DEVICES=` (empty)."
        ),
    )


def read_clocks(nvml: ModuleType = pynvml) -> tuple[tuple[str, int, int], ...]:
    """Return UUID, MHz of the multiprocessors and percent busy of each GPU.

    Those that do not say are left out; so are all where NVML does not answer.
    """
    try:
        nvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
        return tuple(filter(None, (_clock(nvml, handle) for handle in handles)))
    except pynvml.NVMLError:
        return ()
    finally:
        _shut_down(nvml)


def _clock(nvml: ModuleType, handle: object) -> tuple[str, int, int] | None:
    try:
        return (
            str(nvml.nvmlDeviceGetUUID(handle)),
            int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        )
    except pynvml.NVMLError:
        return None
