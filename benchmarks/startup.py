"""How long the command line takes to start, against click alone and named rivals.

Rivals are installed from their packages into a temporary environment, where they
install; each command runs alternately with the others, and medians are compared.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uv
from record import write_result

ROUNDS = 15
RIVALS = ("sparkrun", "ramalama")
LAUNCHER = Path(sys.executable).with_name("nvfp4-serve")
EXAMPLE = Path(__file__).parents[1] / "examples/sonnet-18-nvfp4"


def main() -> None:
    """Measure, print and record."""
    commands = {
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "nvfp4-serve --help": [str(LAUNCHER), "--help"],
        "nvfp4-serve plan EXAMPLE": [str(LAUNCHER), "plan", str(EXAMPLE)],
        "nvfp4-serve inspect EXAMPLE": [str(LAUNCHER), "inspect", str(EXAMPLE)],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in RIVALS:
            program = _install(name, Path(folder))
            if program is not None:
                commands[f"{name} --help"] = [str(program), "--help"]
        seconds = _medians(commands)
    base = seconds["python -c 'import click'"]
    rows = {
        name: {"seconds": round(value, 4), "times_click": round(value / base, 2)}
        for name, value in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name:<32} {row['seconds']:7.3f} s  {row['times_click']:6.2f} x click")
    write_result("startup", {"rounds": ROUNDS, "commands": rows})


def _install(name: str, folder: Path) -> Path | None:
    """Return the program of a rival, or None where it does not install."""
    environment = folder / name
    tool = uv.find_uv_bin()
    newest = next((p for p in ("3.13", "3.12") if _has_python(tool, p)), sys.executable)
    for words in (
        ["venv", "--quiet", "--python", newest, str(environment)],
        ["pip", "install", "--quiet", "--python", str(environment), name],
    ):
        done = subprocess.run(
            [tool, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{name} does not install here: {done.stderr.strip()[-200:]}")
            return None
    return environment / "bin" / name


def _has_python(tool: str, version: str) -> bool:
    words = [tool, "python", "find", "--no-python-downloads", version]
    return not subprocess.run(words, capture_output=True, check=False).returncode


def _medians(commands: dict[str, list[str]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in commands}
    # Everybody's byte code is cached, as it is for a user.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(ROUNDS + 1):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, env=kept, check=True)
            times[name].append(time.perf_counter() - started)
    # The first round fills the page cache.
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
