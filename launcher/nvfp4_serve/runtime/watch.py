"""Watches the processes of one engine; says how it ended, or what it lost."""

import signal
import subprocess
import time
from collections.abc import Mapping
from types import MappingProxyType
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
#: vLLM's server notices the end of its engine core itself, writes down what it knows
#: of it, and ends after up to 5 s (0.32.0, ``watchdog_loop``). It is given the time to
#: write, and no more.
_LAST_WORDS: Final = 2.0
#: Without these an engine cannot answer: names as the kernel keeps them (15 letters),
#: and in full. Source: vLLM 0.32.0, ``set_process_title`` in v1/engine/core.py and
#: v1/executor/multiproc_executor.py.
_NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {"VLLM::EngineCor": "VLLM::EngineCore", "VLLM::Worker": "VLLM::Worker"}
)


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
        return Ended(
            how=_how(status, self._lost),
            out_of_memory=read_out_of_memory_kills() > self._kills_before,
        )

    def _look(self, now: float) -> None:
        if now >= self._next_scan:
            self._next_scan = now + _SCAN
            members = read_members(self.child.pid)
            self._needed |= {
                p.pid: p for p in members if p.name.startswith(tuple(_NEEDED))
            }
        for process in self._needed.values():
            found = read_process(process.pid)
            is_there = found and found.born == process.born and found.state != "Z"
            if not is_there and self._lost is None:
                self._lost, self._lost_at = process, now


def _how(status: int | None, lost: Process | None) -> str:
    if status is not None and status < 0:
        # What was lost besides may have died of this.
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    end = "did not end by itself" if status is None else f"ended with status {status}"
    if lost is None or status:
        # A server that ends with an error of its own has written down why, and may
        # have ended the others itself before.
        return end
    name = _NEEDED.get(lost.name, lost.name)
    return f"lost its process `{name}` (pid {lost.pid}) and {end}"
