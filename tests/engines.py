"""Where the tests find a real engine. The only place that knows."""

import os
from pathlib import Path
from typing import Final

import pytest

#: Path of a Python that has our patched vLLM.
VARIABLE: Final = "NVFP4_TEST_ENGINE"


def engine_python() -> Path:
    """Return the Python of a patched vLLM; skip the test if there is none.

    A wrong path, or none at all in CI, is a failure: a suite that quietly skips
    its proofs proves nothing.
    """
    named = os.environ.get(VARIABLE)
    if named is None:
        say = f"no engine: set {VARIABLE} to the Python of a patched vLLM"
        if os.environ.get("CI"):
            pytest.fail(say)
        pytest.skip(say)
    if not os.access(named, os.X_OK):
        pytest.fail(f"{VARIABLE}={named} is not an executable file")
    return Path(named)
