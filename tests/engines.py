"""Where the tests find a real engine. The only place that knows."""

import os
from functools import cache
from pathlib import Path

import pytest

from nvfp4_serve.runtime.engine import find_engine
from nvfp4_serve.runtime.identity import engine_spec
from nvfp4_serve.runtime.types import Engine


@cache
def managed_engine() -> Engine:
    """Return the managed engine of this checkout; skip the test if there is none.

    None at all in CI is a failure: a suite that quietly skips its proofs proves
    nothing.
    """
    engine = find_engine(engine_spec("cpu"))
    if engine is None:
        say = "the managed engine is not installed: `make engine` installs it"
        if os.environ.get("CI"):
            pytest.fail(say)
        pytest.skip(say)
    return engine


def engine_python() -> Path:
    """Return the Python of the managed engine, which has our patched vLLM."""
    return managed_engine().python
