import subprocess
import sys
from pathlib import Path

MAKER = Path(__file__).parents[2] / "docs" / "make_backends.py"


def test_the_page_of_kernels_says_what_the_rows_say() -> None:
    done = subprocess.run(
        [sys.executable, str(MAKER), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
