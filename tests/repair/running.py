"""Repairs for tests: run in this process or in one that is killed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.repair import Repair, plan_repair, run_repair
from nvfp4_serve.repair.copying import Copier, KernelCopier
from nvfp4_serve.repair.types import Span

TESTS = Path(__file__).parents[1]


def planned(source: Path) -> Repair:
    checkpoint = read_checkpoint(str(source))
    return plan_repair(checkpoint, read_layout(checkpoint))


def repaired(
    source: Path,
    target: Path,
    *,
    copier: Copier | None = None,
    said: list[str] | None = None,
) -> dict[str, Any]:
    """Repair ``source``; what it says goes to ``said``."""
    lines = [] if said is None else said
    return run_repair(planned(source), target, lines.append, copier)


class Meddling:
    """A copier that does something wrong once it has copied ``after`` spans."""

    def __init__(self, meddle: Callable[[int, Span], None], *, after: int = 0) -> None:
        self._meddle = meddle
        self._left = after
        self._copier = KernelCopier()

    def copy(self, source: int, target: int, span: Span) -> int:
        shared = self._copier.copy(source, target, span)
        if self._left == 0:
            self._meddle(target, span)
        self._left -= 1
        return shared


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from repair.running import Meddling, repaired
def die(target, span):
    os.kill(os.getpid(), signal.SIGKILL)
repaired(Path(sys.argv[1]), Path(sys.argv[2]), copier=Meddling(die, after=3))
"""


def killed_half_way(source: Path, target: Path) -> int:
    """Repair in a process that is killed at the fourth span; return how it ended."""
    command = [sys.executable, "-c", _KILLED, str(source), str(target), str(TESTS)]
    return subprocess.run(command, check=False).returncode
