"""What the probes saw in an engine, and the error that says "the bug is there"."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

_PROBES = Path(__file__).resolve().parent / "probes.py"


class BugPresentError(Exception):
    """The bug that a patch is for shows itself."""


class Probes:
    """What the probes in ``probes.py`` saw, in each engine; one process an engine."""

    def __init__(
        self, pythons: dict[str, str], folders: pytest.TempPathFactory
    ) -> None:
        self._pythons = pythons
        self._folders = folders
        self._seen: dict[str, dict[str, str]] = {}

    def saw(self, engine: str, probe: str) -> str:
        """Return what ``probe`` saw in ``engine``: "right", or the bug it met."""
        if engine not in self._seen:
            report = self._folders.mktemp("probes") / f"{engine}.json"
            done = subprocess.run(
                [self._pythons[engine], "-I", str(_PROBES), str(report)],
                capture_output=True,
                text=True,
                check=False,
                cwd=report.parent,
            )
            assert done.returncode == 0, done.stderr[-4000:]
            self._seen[engine] = json.loads(report.read_text())
        return self._seen[engine][probe]

    def require_right(self, engine: str, probe: str) -> None:
        """Raise ``BugPresentError`` when ``probe`` met the bug in ``engine``."""
        seen = self.saw(engine, probe)
        if seen != "right":
            raise BugPresentError(seen)
