import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nvfp4_serve.errors import ExitCode

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / "checkpoint")


def serve(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `serve` where no engine is installed, and none can be."""
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "serve", *words],
        env={
            **os.environ,
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "UV_CACHE_DIR": str(home / "cache"),
            "UV_OFFLINE": "1",
            "PIP_FIND_LINKS": str(home / "no-wheels"),
        },
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_bad_canary_is_found_before_anything_is_installed(
    checkpoint: Path, tmp_path: Path
) -> None:
    (checkpoint / "canary.json").write_text("[]")

    done = serve(str(checkpoint), home=tmp_path)

    assert done.returncode == ExitCode.CHECKPOINT
    assert "canary.json` is not a canary file" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_without_a_terminal_it_installs_unasked_and_a_failure_leaves_nothing(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = serve(str(checkpoint), home=tmp_path)

    assert done.returncode == ExitCode.ENGINE
    assert "is not installed yet; installing it now" in done.stderr
    assert "error: The engine was not installed" in done.stderr
    engines = tmp_path / "data" / "nvfp4-serve" / "engines"
    assert [p.name for p in engines.iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize("flag", ["--uds=/tmp/x", "--ssl_certfile", "--headless"])
def test_an_engine_that_the_gate_could_not_ask_is_refused(
    checkpoint: Path, tmp_path: Path, flag: str
) -> None:
    done = serve(str(checkpoint), "--", flag, home=tmp_path)

    assert done.returncode == ExitCode.USAGE
    assert f"with `{flag.partition('=')[0].replace('_', '-')}`" in done.stderr
    assert not (tmp_path / "data").exists()
