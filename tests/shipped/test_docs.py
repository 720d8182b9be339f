import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("maker", ["make_reference.py", "make_compatibility.py"])
def test_the_pages_say_what_the_program_and_the_recipes_say(maker: str) -> None:
    # In a process of its own: click keeps the help of a command that a test has run.
    done = subprocess.run(
        [sys.executable, str(DOCS / maker), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
