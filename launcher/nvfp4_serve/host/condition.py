"""How a machine is doing right now. Reads /proc and /sys; changes nothing."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nvfp4_serve.host.types import Gpu

#: vLLM's names of the processes that hold the GPU, as the kernel cuts them off.
#: vLLM 0.32.0, v1/engine/core.py and v1/executor/multiproc_executor.py.
_ENGINE_NAMES: Final = ("VLLM::EngineCor", "VLLM::Worker")
#: What takes the children of those that have ended.
_REAPERS: Final = frozenset({"systemd", "init"})
_LINE: Final = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process of an engine whose server has ended.

    Attributes:
        resident: Bytes of memory that the kernel counts as its own; memory of a GPU
            is not among them.
    """

    pid: int
    name: str
    resident: int


@dataclass(frozen=True, slots=True)
class Clock:
    """How fast one GPU runs.

    Attributes:
        gpu: Its UUID.
        sm: MHz of its multiprocessors.
        busy: Percent of the last moment in which it worked.
    """

    gpu: str
    sm: int
    busy: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What changes from one hour to the next, or is no fact for a plan.

    Attributes:
        swap_total: Bytes; None where the kernel does not say.
        swap_used: Bytes.
        page_cache: Bytes that hold files, and are given back when asked for.
        iommu_groups: How many groups of devices the IOMMU keeps apart; 0: it is off.
        kernel_command_line: What the kernel was started with.
        orphans: What is left of engines.
        clocks: Of each GPU whose driver says.
    """

    swap_total: int | None
    swap_used: int | None
    page_cache: int | None
    iommu_groups: int
    kernel_command_line: str
    orphans: tuple[Orphan, ...]
    clocks: tuple[Clock, ...] = ()


def read_condition(gpus: tuple[Gpu, ...], root: Path = Path("/")) -> Condition:
    """Return how this machine is doing.

    Args:
        gpus: Its GPUs; without any, NVML is not asked.
        root: The root of the file system that holds ``proc`` and ``sys``.
    """
    memory = {
        name: int(kib) * 1024
        for name, kib in _LINE.findall(_text(root / "proc/meminfo"))
    }
    total, free = memory.get("SwapTotal"), memory.get("SwapFree")
    return Condition(
        swap_total=total,
        swap_used=None if total is None or free is None else total - free,
        page_cache=memory.get("Cached"),
        iommu_groups=len(list((root / "sys/kernel/iommu_groups").glob("*"))),
        kernel_command_line=_text(root / "proc/cmdline").strip(),
        orphans=_orphans(root / "proc"),
        clocks=_clocks() if gpus else (),
    )


def _clocks() -> tuple[Clock, ...]:
    # NVML is loaded only where there is a GPU.
    from nvfp4_serve.host.nvml import read_clocks

    return tuple(Clock(*row) for row in read_clocks())


def _orphans(proc: Path) -> tuple[Orphan, ...]:
    found = []
    for folder in proc.glob("[0-9]*"):
        name, parent = _name_and_parent(folder)
        if not name.startswith(_ENGINE_NAMES):
            continue
        above, _ = _name_and_parent(proc / parent)
        if above in _REAPERS:
            found.append(Orphan(int(folder.name), name, _resident(folder)))
    return tuple(sorted(found, key=lambda orphan: orphan.pid))


def _name_and_parent(folder: Path) -> tuple[str, str]:
    """Return the name and the parent's pid of a process; of one that ended, nothing."""
    # The name stands in parentheses and may hold some itself: proc_pid_stat(5).
    name, _, rest = _text(folder / "stat").partition("(")[2].rpartition(")")
    fields = rest.split()
    return (name, fields[1]) if len(fields) > 1 else ("", "0")


def _resident(folder: Path) -> int:
    fields = _text(folder / "statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
