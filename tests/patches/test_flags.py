"""The recorded flags are those of the engine's own parser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

_RECORDED = Path(__file__).parents[2] / "recipes" / "flags" / "vllm-0.32.0.json"


def test_the_recorded_flags_are_the_engines(patched: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [patched, "-m", "nvfp4_serve_engine", "flags"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert json.loads(done.stdout) == json.loads(_RECORDED.read_text())
