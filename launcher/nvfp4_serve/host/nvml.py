"""NVIDIA GPUs through NVML. The only module that imports pynvml; no CUDA context."""

from dataclasses import dataclass
from types import ModuleType

import pynvml

from nvfp4_serve.errors import HostError
from nvfp4_serve.host.types import Gpu


@dataclass(frozen=True, slots=True)
class Gpus:
    """The driver and its GPUs."""

    driver: str | None
    gpus: tuple[Gpu, ...]


def read_gpus(nvml: ModuleType = pynvml) -> Gpus:
    """Return the driver and every GPU; none where no NVIDIA driver is installed.

    Args:
        nvml: The binding; a test passes one that answers as a broken driver does.

    Raises:
        HostError: A driver is installed and does not answer. Serving on the CPU
            instead would hide that.

    Source:
        nvidia-ml-py 13.615.71; GB10 answers ``NVML_ERROR_NOT_SUPPORTED`` to the
        memory query (NVIDIA DGX Spark known issues).
    """
    try:
        nvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return Gpus(driver=None, gpus=())
    except pynvml.NVMLError as error:
        raise _broken(error) from error
    try:
        return Gpus(
            driver=str(nvml.nvmlSystemGetDriverVersion()),
            gpus=tuple(_gpu(nvml, i) for i in range(nvml.nvmlDeviceGetCount())),
        )
    except pynvml.NVMLError as error:
        raise _broken(error) from error
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: ModuleType, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = _memory(nvml, handle)
    return Gpu(
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        name=str(nvml.nvmlDeviceGetName(handle)),
        compute_capability=(int(major), int(minor)),
        memory_total=None if memory is None else memory[0],
        memory_free=None if memory is None else memory[1],
    )


def _memory(nvml: ModuleType, handle: object) -> tuple[int, int] | None:
    """Return total and free bytes; None where the GPU shares the machine's memory."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError_NotSupported:
        return None
    return int(memory.total), int(memory.free)


def _broken(error: pynvml.NVMLError) -> HostError:
    return HostError(
        f"An NVIDIA driver is installed, but NVML answers: {error}.",
        fix=(
            "Run `nvidia-smi` and mend what it says (a driver that was upgraded needs "
            "a reboot). To serve on the CPU, set `CUDA_VISIBLE_DEVICES=` (empty)."
        ),
    )
