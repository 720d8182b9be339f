"""Describe this machine. Reads NVML, /proc and the environment; starts nothing."""

import ctypes
import os
import platform
import shutil
from dataclasses import replace

from nvfp4_serve.errors import HostError
from nvfp4_serve.host.disk import hub_free
from nvfp4_serve.host.kernel import read_kernel
from nvfp4_serve.host.memory import read_memory, read_numa_nodes
from nvfp4_serve.host.types import NO_GPUS, Container, Gpu, Gpus, Host


def detect_host(*, with_container: bool = False) -> Host:
    """Return what this machine has, as far as this process may use it.

    Args:
        with_container: Ask the container engine too. That is a round trip or two to
            its socket, which no plan needs.

    Raises:
        HostError: Something is there and cannot be read.
    """
    memory = read_memory()
    kernel = read_kernel()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _visible_gpus(visible)
    return Host(
        recorded=True,
        architecture=platform.machine(),
        cpus=len(os.sched_getaffinity(0)),
        numa_nodes=read_numa_nodes(),
        memory_total=memory.total,
        memory_available=memory.available,
        cxx_compiler=shutil.which("g++") or shutil.which("c++"),
        driver=found.driver,
        gpus=found.gpus,
        cuda_driver=found.cuda_driver,
        nvml_gpus=found.count,
        kernel_gpus=kernel.gpus,
        unusable=found.unusable,
        wsl=kernel.wsl,
        wsl_nvml=kernel.wsl_nvml,
        gpus_hidden=_hides_all(visible),
        in_container=kernel.in_container,
        container=_container(found.gpus) if with_container else None,
        hub_free=hub_free(),
    )


def _container(gpus: tuple[Gpu, ...]) -> Container:
    # HTTP costs as much start-up as click does; only `host` pays it.
    from nvfp4_serve.host.containers import read_container

    return read_container(gpus)


def _visible_gpus(visible: str | None) -> Gpus:
    if _hides_all(visible) or not _has_nvml():
        return NO_GPUS
    # NVML's binding costs as much start-up as click does; a machine without NVML, or
    # one that is told to use its CPU, need not pay it.
    from nvfp4_serve.host.nvml import read_gpus

    found = read_gpus()
    if visible is None:
        return found
    return replace(found, gpus=select_gpus(found.gpus, visible))


def _hides_all(visible: str | None) -> bool:
    return visible is not None and visible.strip() in {"", "-1"}


def _has_nvml() -> bool:
    """Say whether the library is there that NVIDIA's driver brings along."""
    try:
        # The name that nvidia-ml-py 13.615.71 loads on Linux.
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def select_gpus(gpus: tuple[Gpu, ...], visible: str) -> tuple[Gpu, ...]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` names, in its order.

    Args:
        gpus: In NVML's order (PCI bus).
        visible: Indices, or UUIDs of GPUs or MIG instances (or unique beginnings of
            them), between commas.

    Raises:
        HostError: It names a GPU that is not there.
    """
    return tuple(_named(gpus, name.strip()) for name in visible.split(","))


def _named(gpus: tuple[Gpu, ...], name: str) -> Gpu:
    if name.isdigit() and int(name) < len(gpus):
        return gpus[int(name)]
    matches = [gpu for gpu in gpus if name and gpu.uuid.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    raise HostError(
        f"CUDA_VISIBLE_DEVICES names {name!r}, and "
        f"{'several GPUs match' if matches else 'no such GPU is here'}.",
        evidence=tuple(f"{i}: {gpu.uuid} {gpu.name}" for i, gpu in enumerate(gpus)),
        fix="Use the indices or the full UUIDs above, or unset CUDA_VISIBLE_DEVICES.",
    )
