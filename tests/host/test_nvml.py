"""The binding's own errors, from a binding that answers as the field reports say."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from nvfp4_serve.errors import HostError
from nvfp4_serve.host.nvml import read_gpus
from nvfp4_serve.host.types import Fabric, Gpu
from nvfp4_serve.units import GIB

MIG_ON = [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]
NOT_SUPPORTED = pynvml.NVMLError_NotSupported()


def memory(gib: int) -> SimpleNamespace:
    return SimpleNamespace(total=gib * GIB, free=gib * GIB - GIB)


def links(*states: int) -> Callable[..., int]:
    def state(_: object, link: int) -> int:
        if link >= len(states):
            raise pynvml.NVMLError_InvalidArgument
        return states[link]

    return state


def fabric(state: int, status: int = 0) -> Callable[..., None]:
    def fill(_: object, pointer: Any) -> None:
        pointer._obj.state, pointer._obj.status = state, status

    return fill


def binding(**answers: object) -> ModuleType:
    """Return an NVML with one GB10-like GPU, except for ``answers``.

    An answer that is an exception is raised, one that is a function is called.
    """
    module = ModuleType("constructed_nvml")
    usual: dict[str, object] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "580.95.05",
        "nvmlSystemGetCudaDriverVersion_v2": 13000,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetCudaComputeCapability": (12, 1),
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetName": "NVIDIA GB10",
        "nvmlDeviceGetMemoryInfo": NOT_SUPPORTED,
        "nvmlDeviceGetAddressingMode": NOT_SUPPORTED,
        "nvmlDeviceGetMigMode": NOT_SUPPORTED,
        "nvmlDeviceGetMaxPcieLinkGeneration": NOT_SUPPORTED,
        "nvmlDeviceGetMaxPcieLinkWidth": NOT_SUPPORTED,
        "nvmlDeviceGetNvLinkState": NOT_SUPPORTED,
        "nvmlDeviceGetGpuFabricInfoV": NOT_SUPPORTED,
    }
    for name, answer in {**usual, **answers}.items():
        setattr(module, name, _answering(answer))
    return module


def _answering(answer: object) -> object:
    def call(*words: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer(*words) if callable(answer) else answer

    return call


def server_gpu(**answers: object) -> Gpu:
    """Return what is read of one B200-like GPU."""
    (gpu,) = read_gpus(
        binding(
            **{
                "nvmlDeviceGetCudaComputeCapability": (10, 0),
                "nvmlDeviceGetMemoryInfo": memory(179),
                "nvmlDeviceGetMaxPcieLinkGeneration": 5,
                "nvmlDeviceGetMaxPcieLinkWidth": 16,
                "nvmlDeviceGetNvLinkState": links(1, 1, 0),
                "nvmlDeviceGetGpuFabricInfoV": fabric(3),
                **answers,
            }
        )
    ).gpus
    return gpu


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    found = read_gpus(binding(nvmlInit=pynvml.NVMLError_LibraryNotFound()))

    assert (found.driver, found.gpus, found.count) == (None, (), None)


def test_a_driver_without_a_gpu_is_not_the_same_as_no_driver() -> None:
    found = read_gpus(binding(nvmlDeviceGetCount=0))

    assert (found.driver, found.gpus, found.count) == ("580.95.05", (), 0)


def test_the_drivers_cuda_is_a_version() -> None:
    assert read_gpus(binding()).cuda_driver == (13, 0)
    old = read_gpus(binding(nvmlSystemGetCudaDriverVersion_v2=12080))
    assert old.cuda_driver == (12, 8)


def test_unified_memory_is_no_number() -> None:
    (gpu,) = read_gpus(binding()).gpus

    assert gpu.integrated
    assert gpu.memory_total is None
    assert gpu.compute_capability == (12, 1)


@pytest.mark.parametrize("capability", [(12, 1), (11, 0), (8, 7)])
def test_an_integrated_part_stays_one_where_its_memory_query_works(
    capability: tuple[int, int],
) -> None:
    (gpu,) = read_gpus(
        binding(
            nvmlDeviceGetCudaComputeCapability=capability,
            nvmlDeviceGetMemoryInfo=memory(120),
        )
    ).gpus

    assert gpu.integrated
    assert (gpu.memory_total, gpu.memory_free) == (None, None)


@pytest.mark.parametrize(
    ("answers", "integrated"),
    [
        pytest.param({}, False, id="one-sign"),
        pytest.param(
            {"nvmlDeviceGetAddressingMode": pynvml.NVML_DEVICE_ADDRESSING_MODE_HMM},
            False,
            id="wrong-sign",
        ),
        pytest.param(
            {"nvmlDeviceGetAddressingMode": pynvml.NVML_DEVICE_ADDRESSING_MODE_ATS},
            True,
            id="two-signs",
        ),
    ],
)
def test_an_unknown_part_that_hides_its_memory_needs_a_second_sign_to_be_integrated(
    answers: dict[str, object], integrated: bool
) -> None:
    (gpu,) = read_gpus(
        binding(nvmlDeviceGetCudaComputeCapability=(13, 0), **answers)
    ).gpus

    assert gpu.integrated is integrated
    assert gpu.memory_total is None
    assert "memory: Not Supported" in gpu.not_known


def test_a_gpu_with_memory_of_its_own_is_not_integrated_for_sharing_page_tables() -> (
    None
):
    gpu = server_gpu(nvmlDeviceGetAddressingMode=pynvml.NVML_DEVICE_ADDRESSING_MODE_ATS)

    assert not gpu.integrated
    assert gpu.memory_total == 179 * GIB


def test_zero_bytes_of_memory_are_not_known_and_not_zero() -> None:
    gpu = server_gpu(nvmlDeviceGetMemoryInfo=memory(0))

    assert (gpu.memory_total, gpu.memory_free, gpu.integrated) == (None, None, False)
    assert gpu.not_known == ("memory: 0 bytes reported",)


def test_everything_that_is_answered_is_known() -> None:
    gpu = server_gpu()

    assert (gpu.memory_total, gpu.memory_free) == (179 * GIB, 178 * GIB)
    assert (gpu.pcie_generation, gpu.pcie_width) == (5, 16)
    assert (gpu.nvlinks, gpu.nvlinks_active) == (3, 2)
    assert gpu.fabric is Fabric.COMPLETED
    assert gpu.not_known == ()


def test_a_gpu_without_nvlink_has_no_links() -> None:
    gpu = server_gpu(nvmlDeviceGetNvLinkState=NOT_SUPPORTED)

    assert (gpu.nvlinks, gpu.nvlinks_active) == (0, 0)


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [
        (0, 0, Fabric.NOT_SUPPORTED),
        (1, 0, Fabric.NOT_STARTED),
        (2, 0, Fabric.IN_PROGRESS),
        (3, 0, Fabric.COMPLETED),
        (3, pynvml.NVML_ERROR_UNKNOWN, Fabric.FAILED),
        (99, 0, None),
    ],
)
def test_the_fabric_is_what_nvml_says(
    state: int, status: int, said: Fabric | None
) -> None:
    gpu = server_gpu(nvmlDeviceGetGpuFabricInfoV=fabric(state, status))

    assert gpu.fabric is said


OPTIONAL = [
    "nvmlDeviceGetName",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxPcieLinkGeneration",
    "nvmlDeviceGetMaxPcieLinkWidth",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetGpuFabricInfoV",
]


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVMLError_NotSupported(),
        pynvml.NVMLError_FunctionNotFound(),
        pynvml.NVMLError_NoPermission(),
        pynvml.NVMLError_ArgumentVersionMismatch(),
        pynvml.NVMLError_Unknown(),
        pynvml.NVMLError(4711),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", OPTIONAL)
def test_a_question_that_goes_unanswered_is_not_known_and_hides_nothing_else(
    call: str, error: pynvml.NVMLError
) -> None:
    gpu = server_gpu(**{call: error})

    assert gpu.uuid == "GPU-0"
    assert gpu.compute_capability == (10, 0)
    assert all(str(error) in line for line in gpu.not_known)
    assert len(gpu.not_known) <= 1


@pytest.mark.parametrize(
    "call", [*OPTIONAL, "nvmlSystemGetDriverVersion", "nvmlDeviceGetHandleByIndex"]
)
@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVMLError_GpuIsLost(),
        pynvml.NVMLError_DriverNotLoaded(),
        pynvml.NVMLError_Uninitialized(),
    ],
    ids=str,
)
def test_a_driver_that_dies_half_way_is_an_error(
    call: str, error: pynvml.NVMLError
) -> None:
    with pytest.raises(HostError, match="NVML answers") as caught:
        # A dead driver does not shut down cleanly either.
        server_gpu(**{call: error, "nvmlShutdown": error})

    assert str(error) in caught.value.problem
    assert "CUDA_VISIBLE_DEVICES=" in caught.value.fix


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"nvmlInit": pynvml.NVMLError_DriverNotLoaded()}, id="not-loaded"),
        pytest.param({"nvmlInit": pynvml.NVMLError_LibRmVersionMismatch()}, id="skew"),
        pytest.param({"nvmlDeviceGetCount": pynvml.NVMLError_Unknown()}, id="count"),
        pytest.param(
            {"nvmlDeviceGetCudaComputeCapability": NOT_SUPPORTED}, id="capability"
        ),
        pytest.param({"nvmlDeviceGetUUID": NOT_SUPPORTED}, id="uuid"),
    ],
)
def test_a_broken_driver_is_an_error_and_not_a_cpu(answers: dict[str, object]) -> None:
    with pytest.raises(HostError, match="NVML answers") as caught:
        read_gpus(binding(**answers))

    assert "CUDA_VISIBLE_DEVICES=" in caught.value.fix


def test_a_gpu_with_mig_is_its_instances() -> None:
    def part(_: object, index: int) -> str:
        if index == 1:
            raise pynvml.NVMLError_NotFound
        return f"part-{index}"

    found = read_gpus(
        binding(
            nvmlDeviceGetCudaComputeCapability=(9, 0),
            nvmlDeviceGetMigMode=MIG_ON,
            nvmlDeviceGetMaxMigDeviceCount=3,
            nvmlDeviceGetMigDeviceHandleByIndex=part,
            nvmlDeviceGetUUID=lambda handle: (
                f"MIG-{handle}" if isinstance(handle, str) else f"GPU-{handle}"
            ),
            nvmlDeviceGetMemoryInfo=lambda handle: memory(
                18 if isinstance(handle, str) else 140
            ),
        )
    )

    assert [gpu.uuid for gpu in found.gpus] == ["MIG-part-0", "MIG-part-2"]
    assert {gpu.memory_total for gpu in found.gpus} == {18 * GIB}
    assert {gpu.mig_parent for gpu in found.gpus} == {"GPU-0"}
    assert (found.count, found.unusable) == (1, ())


def test_a_gpu_with_mig_and_no_instance_cannot_be_used() -> None:
    found = read_gpus(
        binding(nvmlDeviceGetMigMode=MIG_ON, nvmlDeviceGetMaxMigDeviceCount=0)
    )

    assert found.gpus == ()
    assert "MIG enabled and no instance" in found.unusable[0]


@pytest.mark.gpu
def test_a_real_gpu_is_described() -> None:
    found = read_gpus()

    assert found.driver
    assert found.cuda_driver
    assert found.count
    assert all(gpu.uuid.startswith(("GPU-", "MIG-")) for gpu in found.gpus)
    assert all(gpu.memory_total or gpu.integrated for gpu in found.gpus)
