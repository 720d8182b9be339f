"""Processes as the kernel lists them: the only reader of ``/proc``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
#: TCP_LISTEN in the kernel's ``include/net/tcp_states.h``.
_LISTEN = "0A"
#: What proc_pid_limits(5) calls them.
_LIMITS = {
    "Max stack size": "stack",
    "Max open files": "nofile",
    "Max locked memory": "memlock",
}


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table.

    Attributes:
        name: The kernel's short name, at most 15 characters.
        state: One letter; ``Z`` has ended and only waits to be collected.
        born: Start time in clock ticks since boot.
    """

    pid: int
    name: str
    state: str
    session: int
    born: int


def read_boot() -> str:
    """Return the id of this boot; pids and start times mean nothing beyond it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def read_process(pid: int) -> Process | None:
    """Return the process ``pid``, or None when there is none (any more)."""
    try:
        line = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold spaces and parentheses itself:
    # proc_pid_stat(5). What follows the last ")" is state, ppid, pgrp, session, ...
    name, _, rest = line.partition("(")[2].rpartition(")")
    fields = rest.split()
    return Process(pid, name, fields[0], int(fields[3]), int(fields[19]))


def read_members(session: int) -> tuple[Process, ...]:
    """Return the processes of ``session`` that still live, whatever their group."""
    everyone = (read_process(pid) for pid in _pids())
    return tuple(p for p in everyone if p and p.session == session and p.state != "Z")


def read_listener(port: int) -> str | None:
    """Return who listens on TCP ``port``, as ``name (pid 12)``, where /proc tells.

    Another user's process keeps its open files to itself; then this is None.
    """
    links = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not links:
        return None
    for pid in _pids():
        if links & set(_open_files(pid)):
            process = read_process(pid)
            return f"{process.name} (pid {pid})" if process else None
    return None


def read_limits(pid: int) -> dict[str, int | None]:
    """Return the soft resource limits of a process; None where there is no limit.

    Names are those that container engines use. A process that ended, or that another
    user's is, has none to show.
    """
    try:
        lines = (_PROC / str(pid) / "limits").read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        for text, name in _LIMITS.items():
            if line.startswith(text):
                soft = line.removeprefix(text).split()[0]
                found[name] = None if soft == "unlimited" else int(soft)
    return found


def read_out_of_memory_kills() -> int:
    """Return how many processes the kernel has killed since boot to free memory."""
    for line in (_PROC / "vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0  # Kernels before 4.13 do not count them.


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (_PROC / table).read_text().splitlines()[1:]
        except FileNotFoundError:  # No IPv6.
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(pid: int) -> Iterator[str]:
    folder = _PROC / str(pid) / "fd"
    try:
        for entry in folder.iterdir():
            yield str(entry.readlink())
    except OSError:
        return  # It ended, or it belongs to another user.
