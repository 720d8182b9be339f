import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvfp4_serve.errors import ExitCode, ServeError

COMMAND = [sys.executable, "-m", "nvfp4_serve"]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_every_error_has_an_exit_code_of_its_own() -> None:
    kinds = ServeError.__subclasses__()

    assert len({kind.exit_code for kind in kinds}) == len(kinds)
    assert {kind.exit_code for kind in kinds} <= set(ExitCode)


def test_help_names_every_command() -> None:
    done = run("--help")

    assert done.returncode == 0
    assert "nvfp4-serve MODEL" in done.stdout
    for name in ("serve", "inspect", "plan", "host", "engine"):
        assert f"\n  {name} " in done.stdout


def test_a_misspelt_command_is_no_model() -> None:
    done = run("inspct", "x")

    assert done.returncode == ExitCode.USAGE
    assert "Did you mean 'inspect'?" in done.stderr
    assert done.stdout == ""


def test_a_word_that_is_no_command_is_a_model(tmp_path: Path) -> None:
    short = run(str(tmp_path / "none"))
    long = run("serve", str(tmp_path / "none"))

    assert (short.returncode, short.stderr) == (long.returncode, long.stderr)
    assert short.returncode == ExitCode.CHECKPOINT


def test_an_option_may_stand_in_front_of_the_model(tmp_path: Path) -> None:
    done = run("--port", "8123", str(tmp_path / "none"))

    assert done.returncode == ExitCode.CHECKPOINT


@pytest.mark.parametrize("words", [("--help",), ("plan", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    program = (
        "import sys; from nvfp4_serve.cli.main import commands\n"
        "try: commands.main(sys.argv[1:])\n"
        "finally: print(sorted(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = done.stderr
    for heavy in ("huggingface_hub", "pynvml", "asyncio", "http.client", "numpy"):
        assert f"'{heavy}'" not in loaded


def test_this_machine_is_printed_as_facts() -> None:
    facts = run("host", "--json")

    assert facts.returncode == 0
    assert json.loads(facts.stdout)["facts"] == 2


def test_a_reader_that_goes_away_is_told_nothing() -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"set -o pipefail; {sys.executable} -m nvfp4_serve --help | true",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 1
