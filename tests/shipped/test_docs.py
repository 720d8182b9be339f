import subprocess
import sys
from pathlib import Path

MAKER = Path(__file__).parents[2] / "docs/make_reference.py"


def test_the_reference_pages_say_what_the_program_says() -> None:
    # In a process of its own: click keeps the help of a command that a test has run.
    done = subprocess.run(
        [sys.executable, str(MAKER), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
