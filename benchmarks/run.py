"""Run every benchmark and print what each says; `make bench` runs it.

Each is a program of its own, so that none warms another's caches; each writes its
numbers into ``results/`` itself.
"""

import subprocess
import sys
from pathlib import Path

from nvfp4_serve.runtime.engine import find_engine
from nvfp4_serve.runtime.identity import engine_spec

TOP = Path(__file__).parents[1]


def main() -> int:
    """Run all of them; return 1 when one could not be run."""
    engine = find_engine(engine_spec("cpu"))
    if engine is None:
        print("the engine is not installed: `make engine`", file=sys.stderr)
        return 1
    tokens = ("--engine", str(engine.python), "--producer", _producer())
    benchmarks = {
        "inspect_speed": (),
        "startup": (),
        "plan_speed": (),
        "launcher_overhead": (),
        "repair_speed": (),
        "cpu_tokens": tokens,
        "adapter_overhead": ("--engine", str(engine.python)),
    }
    failed = [name for name, words in benchmarks.items() if not _run(name, words)]
    if failed:
        print(f"not run to the end: {', '.join(failed)}", file=sys.stderr)
    return len(failed) > 0


def _producer() -> str:
    """Return the Python of ModelOpt's environment; it is made if it is missing."""
    program = TOP / "tests/twins/environments.py"
    command = [sys.executable, str(program), "producer"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def _run(name: str, words: tuple[str, ...]) -> bool:
    print(f"\n== {name}", flush=True)
    program = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run([sys.executable, str(program), *words], check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
