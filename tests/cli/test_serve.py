import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nvfp4_serve.cli.serve import ready_seconds
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.plan.types import Ready
from stand_in import plan_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / "checkpoint")


def serve(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `serve` where no engine is installed, and none can be."""
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "serve", *words],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "UV_CACHE_DIR": str(home / "cache"),
        "UV_OFFLINE": "1",
        "PIP_FIND_LINKS": str(home / "no-wheels"),
    }


def serve_on_a_terminal(model: Path, home: Path, answer: bytes) -> tuple[int, str]:
    """Run `serve` on a terminal, and type ``answer`` when it asks something.

    Returns:
        The exit code, and what stood on the terminal.
    """
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "nvfp4_serve", "serve", str(model)],
        env=environment(home),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed.
            while data := os.read(ours, 4096):
                if b"[Y/n]" in shown + data and b"[Y/n]" not in shown:
                    os.write(ours, answer)
                shown += data
        os.close(ours)
        return process.wait(timeout=20), shown.decode()


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


def test_on_a_terminal_it_asks_before_it_installs_and_takes_no_for_an_answer(
    checkpoint: Path, tmp_path: Path
) -> None:
    code, shown = serve_on_a_terminal(checkpoint, tmp_path, b"n\n")

    assert code == ExitCode.ENGINE
    assert "is not installed yet. Install it now (3.6 GiB on the disk)? [Y/n]" in shown
    assert "error: The engine is not installed." in shown
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("answer", [b"y\n", b"\n"])
def test_on_a_terminal_yes_or_nothing_installs(
    checkpoint: Path, tmp_path: Path, answer: bytes
) -> None:
    code, shown = serve_on_a_terminal(checkpoint, tmp_path, answer)

    # Nothing can be fetched here, but it is tried.
    assert code == ExitCode.ENGINE
    assert "1/5 environment" in shown
    assert "error: The engine was not installed: installing torch" in shown


@pytest.mark.parametrize("flag", ["--uds=/tmp/x", "--ssl_certfile", "--headless"])
def test_an_engine_that_the_gate_could_not_ask_is_refused(
    checkpoint: Path, tmp_path: Path, flag: str
) -> None:
    done = serve(str(checkpoint), "--", flag, home=tmp_path)

    assert done.returncode == ExitCode.USAGE
    assert f"with `{flag.partition('=')[0].replace('_', '-')}`" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("ready", "seconds"),
    [
        (None, 3600),
        (Ready(None, 100, "a log"), 3600),
        (Ready(900, None, "a log"), 3600),
        (Ready(2400, None, "a log"), 4800),
    ],
)
def test_an_engine_may_take_twice_as_long_as_the_recipe_says(
    ready: Ready | None, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready_seconds(replace(plan_of(1), ready=ready)) == seconds
    assert ("2400 s to the first answer" in capsys.readouterr().err) == (seconds > 3600)
