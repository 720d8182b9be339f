"""The binding's own errors, from a binding that answers as the field reports say."""

from types import ModuleType, SimpleNamespace

import pynvml
import pytest

from nvfp4_serve.errors import HostError
from nvfp4_serve.host.nvml import read_gpus
from nvfp4_serve.units import GIB


def binding(**answers: object) -> ModuleType:
    """Return an NVML with one GB10-like GPU, except for ``answers``."""
    module = ModuleType("constructed_nvml")
    usual: dict[str, object] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "580.95.05",
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": object(),
        "nvmlDeviceGetCudaComputeCapability": (12, 1),
        "nvmlDeviceGetUUID": "GPU-1",
        "nvmlDeviceGetName": "NVIDIA GB10",
        "nvmlDeviceGetMemoryInfo": pynvml.NVMLError_NotSupported(),
    }
    for name, answer in {**usual, **answers}.items():
        setattr(module, name, _answering(answer))
    return module


def _answering(answer: object) -> object:
    def call(*_: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return call


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    found = read_gpus(binding(nvmlInit=pynvml.NVMLError_LibraryNotFound()))

    assert (found.driver, found.gpus) == (None, ())


def test_unified_memory_is_no_number() -> None:
    (gpu,) = read_gpus(binding()).gpus

    assert gpu.memory_total is None
    assert gpu.compute_capability == (12, 1)


def test_memory_is_in_bytes() -> None:
    (gpu,) = read_gpus(
        binding(nvmlDeviceGetMemoryInfo=SimpleNamespace(total=96 * GIB, free=90 * GIB))
    ).gpus

    assert (gpu.memory_total, gpu.memory_free) == (96 * GIB, 90 * GIB)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"nvmlInit": pynvml.NVMLError_DriverNotLoaded()}, id="not-loaded"),
        pytest.param({"nvmlInit": pynvml.NVMLError_LibRmVersionMismatch()}, id="skew"),
        pytest.param(
            {"nvmlDeviceGetName": pynvml.NVMLError_GpuIsLost()}, id="half-way"
        ),
    ],
)
def test_a_broken_driver_is_an_error_and_not_a_cpu(answers: dict[str, object]) -> None:
    with pytest.raises(HostError, match="NVML answers") as caught:
        read_gpus(binding(**answers))

    assert "CUDA_VISIBLE_DEVICES=" in caught.value.fix


@pytest.mark.gpu
def test_a_real_gpu_is_described() -> None:
    found = read_gpus()

    assert found.driver
    assert all(gpu.uuid.startswith("GPU-") for gpu in found.gpus)
