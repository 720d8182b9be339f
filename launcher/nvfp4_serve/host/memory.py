"""Memory of this machine: ``/proc/meminfo`` and the cgroup's limit."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import HostError

_LINE: Final = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a process here may count on."""

    total: int
    available: int


def read_memory(root: Path = Path("/")) -> Memory:
    """Return the memory of the machine, or of the cgroup where that is less.

    ``MemAvailable`` and not ``MemFree``: page cache is given back when asked for.

    Args:
        root: The root of the file system that holds ``proc`` and ``sys``.

    Raises:
        HostError: ``/proc/meminfo`` cannot be read or lacks a line.
    """
    machine = _meminfo(root / "proc/meminfo")
    cgroup = _cgroup(root)
    if cgroup is None:
        return machine
    limit, used = cgroup
    return Memory(
        total=min(machine.total, limit),
        available=min(machine.available, max(0, limit - used)),
    )


def read_numa_nodes(root: Path = Path("/")) -> int:
    """Return how many memory nodes the machine has; 1 where the kernel knows none."""
    folder = root / "sys/devices/system/node"
    return max(1, len(list(folder.glob("node[0-9]*"))))


def _meminfo(path: Path) -> Memory:
    try:
        lines = dict(_LINE.findall(path.read_text()))
        return Memory(
            total=int(lines["MemTotal"]) * 1024,
            available=int(lines["MemAvailable"]) * 1024,
        )
    except (OSError, KeyError) as error:
        raise HostError(
            f"The memory of this machine cannot be read from {path}: {error}.",
            fix="Describe the machine in a file and pass it with `--facts FILE`.",
        ) from error


def _cgroup(root: Path) -> tuple[int, int] | None:
    """Return the limit and what is used and cannot be dropped; None without a limit."""
    v2 = root / "sys/fs/cgroup"
    v1 = v2 / "memory"
    for folder, limit_name, usage_name in (
        (v2, "memory.max", "memory.current"),
        (v1, "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, usage = _number(folder / limit_name), _number(folder / usage_name)
        if limit is not None and usage is not None:
            return limit, max(0, usage - _page_cache(folder))
    return None


def _page_cache(folder: Path) -> int:
    """Return the file pages that the cgroup can drop; they count as in use."""
    try:
        fields = dict(
            line.split(maxsplit=1)
            for line in (folder / "memory.stat").read_text().splitlines()
        )
    except OSError:
        return 0
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def _number(path: Path) -> int | None:
    """Return the number in ``path``; None where there is no file or it says ``max``."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
