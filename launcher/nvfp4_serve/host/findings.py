"""What a user should know of a machine. Pure; the same for a described one."""

import re
from collections.abc import Iterator
from typing import Final

from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.capability import KNOWN, capability_text
from nvfp4_serve.host.types import Attach, Container, Fabric, Gpu, Host
from nvfp4_serve.units import format_bytes

#: CUDA 13.0 needs driver R580 (NVIDIA CUDA Toolkit release notes; vLLM 0.33.0,
#: docs, gpu.cuda.inc.md). The pinned engine is built with CUDA 13.0.
_OLDEST_DRIVER: Final = 580
_OLDEST_CUDA: Final = (13, 0)

_INSTALL_TOOLKIT: Final = (
    "Install the NVIDIA Container Toolkit; then `sudo nvidia-ctk runtime configure "
    "--runtime=docker && sudo systemctl restart docker`."
)


def host_findings(host: Host) -> tuple[Finding, ...]:
    """Return what is worth knowing of ``host``, the worst first."""
    found = (
        *_driver(host),
        *_missing_gpus(host),
        *_each_gpu(host),
        *_gpus_together(host),
        *(_container(host, host.container) if host.container else ()),
    )
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def driver_release(driver: str) -> int | None:
    """Return 580 for ``580.95.05``; None where it does not begin with a number."""
    found = re.match(r"\d+", driver)
    return int(found[0]) if found else None


def _driver(host: Host) -> Iterator[Finding]:
    release = None if host.driver is None else driver_release(host.driver)
    too_old = release is not None and release < _OLDEST_DRIVER
    cuda_too_old = host.cuda_driver is not None and host.cuda_driver < _OLDEST_CUDA
    if too_old or cuda_too_old:
        speaks = (
            f" (CUDA {capability_text(host.cuda_driver)})" if host.cuda_driver else ""
        )
        yield Finding(
            "driver-too-old",
            Severity.ERROR,
            f"NVIDIA driver {host.driver}{speaks} is older than R{_OLDEST_DRIVER}, "
            "which the engine's CUDA 13.0 needs.",
            f"Install driver R{_OLDEST_DRIVER} or newer. On data-centre GPUs R535 and "
            "R570 may do with `VLLM_ENABLE_CUDA_COMPATIBILITY=1`.",
        )


def _missing_gpus(host: Host) -> Iterator[Finding]:
    listed = host.nvml_gpus or 0
    if host.gpus_hidden:
        if host.kernel_gpus:
            yield Finding(
                "gpus-hidden",
                Severity.INFO,
                f"CUDA_VISIBLE_DEVICES hides the {host.kernel_gpus} GPUs here.",
                "Unset it to use them.",
            )
        return
    if host.nvml_gpus is None and host.wsl_nvml is not None:
        yield Finding(
            "wsl-nvml-not-found",
            Severity.WARNING,
            f"Windows lends {host.wsl_nvml}, and the loader does not find it.",
            "Put `/usr/lib/wsl/lib` into LD_LIBRARY_PATH, or run `sudo ldconfig`.",
        )
    elif (host.kernel_gpus or 0) > listed:
        yield Finding(
            "gpus-not-in-nvml",
            Severity.WARNING,
            f"The kernel's driver lists {host.kernel_gpus} GPUs, NVML {listed}.",
            _why_not_in_nvml(host),
        )
    elif host.nvml_gpus == 0:
        yield Finding(
            "no-gpus",
            Severity.WARNING,
            f"NVIDIA driver {host.driver} is installed and lists no GPU.",
            "Look at `sudo dmesg | grep -i nvrm` for one that failed to start.",
        )


def _why_not_in_nvml(host: Host) -> str:
    if host.in_container:
        return (
            "This is a container: give it the GPUs (`--gpus all`, or `--device "
            "nvidia.com/gpu=all` with CDI) if it should have them all."
        )
    if host.nvml_gpus is None:
        return "Install the driver's libraries (`libnvidia-ml.so.1`) of its version."
    return "Run `nvidia-smi`; a GPU that fell off the bus needs a reboot."


def _each_gpu(host: Host) -> Iterator[Finding]:
    for kind in group_gpus(host.gpus):
        gpu = kind[0]
        capability = capability_text(gpu.compute_capability)
        if gpu.compute_capability not in KNOWN:
            yield Finding(
                "capability-unknown",
                Severity.WARNING,
                f"{gpu.name} has compute capability {capability}, which this launcher "
                "has no rules for; no plan uses it.",
                "Look for a newer launcher.",
            )
        if gpu.memory_total is None and not gpu.integrated:
            said = "; ".join(s for s in gpu.not_known if s.startswith("memory"))
            yield Finding(
                "gpu-memory-unknown",
                Severity.ERROR,
                f"{gpu.name} does not say how much memory it has"
                f"{f' ({said})' if said else ''}; it cannot be planned for.",
                "Run `nvidia-smi`. If you know it, write `host --json` to a file, put "
                "`memory_total` there and pass the file with `--facts`.",
            )
    for gpu in host.gpus:
        if gpu.fabric in {Fabric.NOT_STARTED, Fabric.IN_PROGRESS, Fabric.FAILED}:
            yield _fabric(gpu)
            break
    for reason in host.unusable:
        yield Finding(
            "mig-without-instance",
            Severity.WARNING,
            f"{reason}; CUDA cannot use it.",
            "Make one (`sudo nvidia-smi mig -cgi PROFILE -C`), or turn MIG off (`sudo "
            "nvidia-smi -i GPU -mig 0`).",
        )


def _fabric(gpu: Gpu) -> Finding:
    return Finding(
        "fabric-not-ready",
        Severity.ERROR,
        f"The NVSwitch fabric is {gpu.fabric}; CUDA will say error 802, system not "
        "yet initialized.",
        "Start the fabric manager (`sudo systemctl start nvidia-fabricmanager`); its "
        "version must be the driver's.",
    )


def group_gpus(gpus: tuple[Gpu, ...]) -> tuple[tuple[Gpu, ...], ...]:
    """Return the GPUs by kind: capability, memory and what people call them."""
    kinds: dict[tuple[object, ...], list[Gpu]] = {}
    for gpu in gpus:
        kind = (gpu.compute_capability, gpu.memory_total, gpu.name, gpu.mig_parent)
        kinds.setdefault(kind, []).append(gpu)
    return tuple(tuple(like) for like in kinds.values())


def _gpus_together(host: Host) -> Iterator[Finding]:
    whole = [gpu for gpu in host.gpus if gpu.mig_parent is None]
    kinds = {(gpu.compute_capability, gpu.memory_total): gpu for gpu in host.gpus}
    if len(kinds) > 1:
        names = ", ".join(
            f"{gpu.name} ({capability_text(gpu.compute_capability)}, {_memory(gpu)})"
            for gpu in kinds.values()
        )
        yield Finding(
            "unlike-gpus",
            Severity.WARNING,
            f"The GPUs are not alike: {names}. An engine that spans them takes from "
            "each what the smallest has.",
            "A plan uses GPUs of one kind; name others with CUDA_VISIBLE_DEVICES.",
        )
    if len(host.gpus) > len(whole):
        yield Finding(
            "mig",
            Severity.INFO,
            "An engine uses one MIG instance: CUDA gives a process no second one.",
            "Turn MIG off (`sudo nvidia-smi -i GPU -mig 0`) to use the whole GPU.",
        )
    down = [gpu for gpu in whole if gpu.nvlinks and gpu.nvlinks_active == 0]
    if down and len(whole) > 1:
        yield Finding(
            "nvlink-down",
            Severity.WARNING,
            f"No NVLink is up on {len(down)} of {len(whole)} GPUs; they talk over "
            "PCIe.",
            "Look at `nvidia-smi nvlink --status` and at the fabric manager.",
        )


def _memory(gpu: Gpu) -> str:
    if gpu.memory_total is not None:
        return format_bytes(gpu.memory_total)
    return "unified memory" if gpu.integrated else "memory not known"


def _container(host: Host, container: Container) -> Iterator[Finding]:
    if container.problem is not None and container.fix is not None:
        yield Finding(
            "engine-not-asked", Severity.WARNING, container.problem, container.fix
        )
    if container.remote:
        yield Finding(
            "engine-remote",
            Severity.WARNING,
            f"The container engine at {container.address} is on another machine; the "
            "GPUs and the memory above are not its.",
            "Run `nvfp4-serve host --json` there, and pass it here with `--facts`.",
        )
    if container.rootless and container.attach is Attach.DEVICE_REQUEST:
        yield Finding(
            "engine-rootless",
            Severity.INFO,
            "The engine runs without root, where the toolkit cannot set cgroups.",
            "`sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place`,"
            " once; or give the GPUs by CDI.",
        )
    if container.engine and container.attach is Attach.NONE and host.gpus:
        yield Finding(
            "engine-without-gpus",
            Severity.WARNING,
            f"Containers cannot be given the GPUs: {container.reason}.",
            _how_to_attach(container),
        )


def _how_to_attach(container: Container) -> str:
    if container.engine == "podman":
        return (
            "Use Podman 5.4 or newer, and `sudo nvidia-ctk cdi generate "
            "--output=/etc/cdi/nvidia.yaml`."
        )
    if container.cdi_spec_dirs:
        folder = container.cdi_spec_dirs[0]
        return (
            f"{_INSTALL_TOOLKIT} Or, with CDI: `sudo nvidia-ctk cdi generate "
            f"--output={folder}/nvidia.yaml`."
        )
    return _INSTALL_TOOLKIT
