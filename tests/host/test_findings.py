import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host import Gpu, Host, read_facts
from nvfp4_serve.host.findings import host_findings
from nvfp4_serve.host.types import Attach, Container, Fabric
from nvfp4_serve.units import GIB

HOSTS = Path(__file__).parents[1] / "data/hosts"

DOCKER = Container(
    engine="docker",
    address="unix:///var/run/docker.sock",
    remote=False,
    version="28.5.2",
    rootless=False,
    runtimes=("runc",),
    cdi_spec_dirs=("/etc/cdi",),
    cdi_devices=(),
    attach=Attach.NONE,
    reason="no runtime `nvidia`, and no CDI spec lists nvidia.com/gpu",
)


def finding(host: Host, name: str) -> Finding:
    (found,) = [one for one in host_findings(host) if one.id == name]
    return found


def like(**changes: Any) -> Gpu:
    return replace(gpu(), **changes)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("b300x8", []),
        ("cpu-x86_64", []),
        ("gb10", []),
        ("gb10x2-node", []),
        ("h200x1", []),
        ("mig-h200", ["mig"]),
        ("mixed", ["unlike-gpus"]),
        ("rtx-pro-6000x8", []),
        ("thor", []),
        ("wsl-rtx-5090", []),
    ],
)
def test_a_described_machine_has_these_findings(name: str, ids: list[str]) -> None:
    host = read_facts(HOSTS / f"{name}.json")

    assert [one.id for one in host_findings(host)] == ids


@pytest.mark.parametrize(
    ("host", "name", "severity", "says"),
    [
        pytest.param(
            gpu_host(gpu(), cuda_driver=(12, 8)),
            "driver-too-old",
            Severity.ERROR,
            "CUDA 12.8",
            id="cuda-of-the-driver",
        ),
        pytest.param(
            replace(gpu_host(gpu()), driver="570.172.08"),
            "driver-too-old",
            Severity.ERROR,
            "570.172.08 is older than R580",
            id="driver",
        ),
        pytest.param(
            gpu_host(gpu(0), gpu(1, memory=32 * GIB)),
            "unlike-gpus",
            Severity.WARNING,
            "96.0 GiB.*32.0 GiB.*smallest",
            id="unlike-memory",
        ),
        pytest.param(
            gpu_host(gpu(0), gpu(1, capability=(9, 0))),
            "unlike-gpus",
            Severity.WARNING,
            "12.0.*9.0",
            id="unlike-capability",
        ),
        pytest.param(
            gpu_host(gpu(capability=(13, 0))),
            "capability-unknown",
            Severity.WARNING,
            "compute capability 13.0",
            id="newer-gpu",
        ),
        pytest.param(
            gpu_host(gpu(capability=(10, 7))),
            "capability-unknown",
            Severity.WARNING,
            "10.7",
            id="between-the-known",
        ),
        pytest.param(
            gpu_host(
                like(
                    memory_total=None,
                    memory_free=None,
                    not_known=("memory: 0 bytes reported", "fabric: Not Supported"),
                )
            ),
            "gpu-memory-unknown",
            Severity.ERROR,
            r"how much memory it has \(memory: 0 bytes reported\)",
            id="no-bytes",
        ),
        pytest.param(
            gpu_host(like(fabric=Fabric.COMPLETED), like(fabric=Fabric.IN_PROGRESS)),
            "fabric-not-ready",
            Severity.ERROR,
            "in-progress.*error 802",
            id="fabric",
        ),
        pytest.param(
            gpu_host(
                like(nvlinks=18, nvlinks_active=0), like(nvlinks=18, nvlinks_active=18)
            ),
            "nvlink-down",
            Severity.WARNING,
            "1 of 2 GPUs",
            id="nvlink",
        ),
        pytest.param(
            gpu_host(gpu(0), nvml_gpus=1, kernel_gpus=8),
            "gpus-not-in-nvml",
            Severity.WARNING,
            "lists 8 GPUs, NVML 1",
            id="lost",
        ),
        pytest.param(
            cpu_host(kernel_gpus=8),
            "gpus-not-in-nvml",
            Severity.WARNING,
            "lists 8 GPUs, NVML 0",
            id="no-libraries",
        ),
        pytest.param(
            replace(cpu_host(), driver="580.95.05", nvml_gpus=0),
            "no-gpus",
            Severity.WARNING,
            "lists no GPU",
            id="none-at-all",
        ),
        pytest.param(
            cpu_host(kernel_gpus=8, gpus_hidden=True),
            "gpus-hidden",
            Severity.INFO,
            "hides the 8 GPUs",
            id="hidden",
        ),
        pytest.param(
            cpu_host(wsl=True, wsl_nvml="/usr/lib/wsl/lib/libnvidia-ml.so.1"),
            "wsl-nvml-not-found",
            Severity.WARNING,
            "loader does not find",
            id="wsl",
        ),
        pytest.param(
            cpu_host(unusable=("GPU 0 (x, GPU-1) has MIG enabled and no instance",)),
            "mig-without-instance",
            Severity.WARNING,
            "CUDA cannot use it",
            id="empty-mig",
        ),
        pytest.param(
            gpu_host(gpu(), container=DOCKER),
            "engine-without-gpus",
            Severity.WARNING,
            "cannot be given the GPUs: no runtime",
            id="no-way-to-attach",
        ),
        pytest.param(
            gpu_host(gpu(), container=replace(DOCKER, remote=True)),
            "engine-remote",
            Severity.WARNING,
            "on another machine",
            id="remote",
        ),
        pytest.param(
            gpu_host(
                gpu(),
                container=replace(DOCKER, rootless=True, attach=Attach.DEVICE_REQUEST),
            ),
            "engine-rootless",
            Severity.INFO,
            "without root",
            id="rootless",
        ),
        pytest.param(
            cpu_host(container=replace(DOCKER, engine=None, problem="P.", fix="F.")),
            "engine-not-asked",
            Severity.WARNING,
            "P.",
            id="silent",
        ),
    ],
)
def test_a_finding_says_what_is_wrong_and_what_to_do(
    host: Host, name: str, severity: Severity, says: str
) -> None:
    found = finding(host, name)

    assert found.severity is severity
    assert re.search(says, found.message)
    assert found.message.endswith(".")
    assert found.fix.endswith(".")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param(gpu_host(gpu(), cuda_driver=(13, 0)), "driver-too-old", id="r580"),
        pytest.param(
            replace(gpu_host(gpu()), driver="610.74"), "driver-too-old", id="newer"
        ),
        pytest.param(gpu_host(gpu(memory=None)), "gpu-memory-unknown", id="unified"),
        pytest.param(gpu_host(gpu(0), gpu(1)), "unlike-gpus", id="alike"),
        pytest.param(
            gpu_host(like(nvlinks=18, nvlinks_active=0)), "nvlink-down", id="one-gpu"
        ),
        pytest.param(
            gpu_host(like(nvlinks=0, nvlinks_active=0), gpu(1)),
            "nvlink-down",
            id="pcie",
        ),
        pytest.param(cpu_host(container=DOCKER), "engine-without-gpus", id="no-gpu"),
        pytest.param(
            gpu_host(like(fabric=Fabric.NOT_SUPPORTED)), "fabric-not-ready", id="none"
        ),
    ],
)
def test_what_is_in_order_is_not_a_finding(host: Host, name: str) -> None:
    assert name not in {one.id for one in host_findings(host)}


def test_the_worst_finding_stands_first() -> None:
    host = replace(
        gpu_host(gpu(0), gpu(1, memory=32 * GIB), gpus_hidden=True, kernel_gpus=2),
        driver="535.1",
    )

    severities = [one.severity for one in host_findings(host)]

    assert severities == [Severity.ERROR, Severity.WARNING, Severity.INFO]


def test_a_container_without_gpus_is_told_how_to_be_given_them() -> None:
    host = cpu_host(kernel_gpus=8, in_container=True)

    assert "--gpus all" in finding(host, "gpus-not-in-nvml").fix
