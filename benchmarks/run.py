"""Run every benchmark and print what each says; `make bench` runs it.

Each is a program of its own, so that none warms another's caches; each writes its
numbers into ``results/`` itself.
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("inspect_speed", "startup", "launcher_overhead", "cpu_tokens")


def main() -> int:
    """Run all of them; return 1 when one could not be run."""
    failed = [name for name in BENCHMARKS if not _run(name)]
    if failed:
        print(f"not run to the end: {', '.join(failed)}", file=sys.stderr)
    return len(failed) > 0


def _run(name: str) -> bool:
    print(f"\n== {name}", flush=True)
    program = Path(__file__).with_name(f"{name}.py")
    return not subprocess.run([sys.executable, str(program)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
