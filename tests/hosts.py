"""Machines for tests. Built by hand; none of them was measured."""

from dataclasses import replace
from typing import Any

from nvfp4_serve.host import Gpu, Host
from nvfp4_serve.units import GIB

CPU = Host(
    recorded=False,
    architecture="x86_64",
    cpus=16,
    numa_nodes=1,
    memory_total=128 * GIB,
    memory_available=120 * GIB,
    cxx_compiler="/usr/bin/g++",
    driver=None,
    gpus=(),
)


def cpu_host(**changes: Any) -> Host:
    return replace(CPU, **changes)


def gpu(
    index: int = 0,
    *,
    capability: tuple[int, int] = (12, 0),
    memory: int | None = 96 * GIB,
    free: int | None = None,
) -> Gpu:
    return Gpu(
        uuid=f"GPU-0000000{index}",
        name=f"constructed sm_{capability[0]}{capability[1]}",
        compute_capability=capability,
        memory_total=memory,
        memory_free=memory if free is None else free,
        integrated=memory is None,
    )


def gpu_host(*gpus: Gpu, **changes: Any) -> Host:
    return replace(CPU, driver="580.95.05", gpus=gpus, **changes)
