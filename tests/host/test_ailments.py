import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.finding import Severity
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.host.ailments import condition_findings
from nvfp4_serve.host.condition import Clock, Condition, Orphan
from nvfp4_serve.units import GIB

_HOSTS = Path(__file__).parents[1] / "data" / "hosts"
HEALTHY = Condition(
    swap_total=16 * GIB,
    swap_used=0,
    page_cache=2 * GIB,
    iommu_groups=0,
    kernel_command_line="quiet",
    orphans=(),
)


def found(host: Host, **changes: Any) -> dict[str, Severity]:
    condition = dataclasses.replace(HEALTHY, **changes)
    return {f.id: f.severity for f in condition_findings(host, condition)}


def recorded(name: str) -> Host:
    return read_facts(_HOSTS / f"{name}.json")


@pytest.mark.parametrize(
    "path", sorted(_HOSTS.glob("*.json")), ids=lambda path: str(path.stem)
)
def test_a_healthy_machine_has_nothing_to_mend(path: Path) -> None:
    host = read_facts(path)

    assert set(found(host)) <= {"wsl"}


def test_processes_that_an_engine_left_are_an_error() -> None:
    left = (Orphan(pid=4711, name="VLLM::EngineCor", resident=GIB),)

    (finding,) = condition_findings(
        cpu_host(), dataclasses.replace(HEALTHY, orphans=left)
    )

    assert finding.severity is Severity.ERROR
    assert "VLLM::EngineCor (pid 4711, 1.0 GiB)" in finding.message
    assert "`kill 4711`" in finding.fix


@pytest.mark.parametrize(
    ("name", "changes", "ids"),
    [
        pytest.param("gb10", {"swap_used": 3 * GIB}, {"unified-swap-used"}, id="swap"),
        pytest.param("b300x8", {"swap_used": 3 * GIB}, set(), id="swap-elsewhere"),
        pytest.param(
            "gb10", {"page_cache": 60 * GIB}, {"unified-page-cache"}, id="cache"
        ),
        pytest.param("b300x8", {"page_cache": 900 * GIB}, set(), id="cache-elsewhere"),
        pytest.param(
            "rtx-pro-6000x2",
            {"iommu_groups": 40},
            {"pcie-peers-behind-iommu"},
            id="iommu",
        ),
        pytest.param(
            "rtx-pro-6000x2",
            {"iommu_groups": 40, "kernel_command_line": "quiet iommu=pt"},
            set(),
            id="passed-through",
        ),
        pytest.param("rtx-pro-6000x1", {"iommu_groups": 40}, set(), id="one-gpu"),
        pytest.param("b300x8", {"iommu_groups": 90}, set(), id="nvlink"),
        pytest.param("wsl-rtx-5090", {}, {"wsl"}, id="wsl"),
    ],
)
def test_each_machine_is_judged_by_its_own_traps(
    name: str, changes: dict[str, Any], ids: set[str]
) -> None:
    assert set(found(recorded(name), **changes)) == ids


@pytest.mark.parametrize(
    ("sm", "busy", "is_slow"),
    [(799, 96, True), (2400, 96, False), (210, 0, False), (0, 100, False)],
)
def test_only_a_gpu_that_works_and_is_slow_is_called_slow(
    sm: int, busy: int, is_slow: bool
) -> None:
    host = gpu_host(gpu(0, capability=(12, 1), memory=None))
    clock = Clock(gpu=host.gpus[0].uuid, sm=sm, busy=busy)

    assert ("gpu-slow" in found(host, clocks=(clock,))) is is_slow


def test_what_is_not_known_is_not_guessed() -> None:
    host = recorded("gb10")

    assert not found(host, swap_total=None, swap_used=None, page_cache=None)
