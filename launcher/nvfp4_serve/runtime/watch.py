"""Watches the processes of one engine; says how it ended, or what it lost."""

import signal
import subprocess
import time
from typing import Final

from nvfp4_serve.runtime.proc import (
    Process,
    read_members,
    read_out_of_memory_kills,
    read_process,
)
from nvfp4_serve.runtime.types import Ended

#: Seconds between two looks for new processes of the engine; known ones are looked at
#: every time, which costs next to nothing.
_SCAN: Final = 1.0
#: vLLM's server notices the end of its engine core every 5 s and then ends with words
#: of its own (0.32.0, ``watchdog_loop``); it is not waited for any longer than that.
_LAST_WORDS: Final = 6.0
#: Without these an engine cannot answer. The kernel keeps 15 letters of a name.
#: Source: vLLM 0.32.0, ``set_process_title`` in v1/engine/core.py and v1/executor.
_NEEDED: Final = ("VLLM::EngineCor", "VLLM::Worker")


class Watch:
    """The processes of one engine that this process has started."""

    def __init__(self, child: subprocess.Popen[bytes], kills_before: int) -> None:
        self.child = child
        self._kills_before = kills_before
        self._needed: dict[int, Process] = {}
        self._next_scan = 0.0
        self._lost: Process | None = None
        self._lost_at = 0.0

    def ended(self) -> Ended | None:
        """Return how the engine ended, or None while all that it needs is there."""
        status = self.child.poll()
        now = time.monotonic()
        if status is None:
            self._look(now)
            if self._lost is None or now < self._lost_at + _LAST_WORDS:
                return None
        lost = f"its process {_name(self._lost)} has gone" if self._lost else ""
        how = f"is broken: {lost}" if status is None else _how(status)
        return Ended(
            how=f"{how} after {lost}" if lost and status is not None else how,
            out_of_memory=read_out_of_memory_kills() > self._kills_before,
        )

    def _look(self, now: float) -> None:
        if now >= self._next_scan:
            self._next_scan = now + _SCAN
            members = read_members(self.child.pid)
            self._needed |= {p.pid: p for p in members if p.name.startswith(_NEEDED)}
        for process in self._needed.values():
            found = read_process(process.pid)
            is_there = found and found.born == process.born and found.state != "Z"
            if not is_there and self._lost is None:
                self._lost, self._lost_at = process, now


def _name(process: Process) -> str:
    return f"`{process.name}` (pid {process.pid})"


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by signal {-status} ({signal.Signals(-status).name})"
