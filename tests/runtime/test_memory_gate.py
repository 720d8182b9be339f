from collections.abc import Iterator

import pytest

from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.memory import Memory
from nvfp4_serve.runtime.memory_gate import wait_for_memory
from nvfp4_serve.units import GIB


def wait(*available: int, needed: int = 80 * GIB) -> tuple[list[str], list[float]]:
    """Wait where each look finds the next of ``available``; return words and naps."""
    looks: Iterator[int] = iter(available)
    last = available[-1]
    said: list[str] = []
    naps: list[float] = []
    wait_for_memory(
        needed,
        said.append,
        read=lambda: Memory(128 * GIB, next(looks, last)),
        sleep=naps.append,
    )
    return said, naps


def test_memory_that_is_there_is_not_waited_for() -> None:
    assert wait(90 * GIB) == ([], [])


def test_memory_that_comes_back_late_is_waited_for_and_said() -> None:
    said, naps = wait(20 * GIB, 20 * GIB, 50 * GIB, 90 * GIB)

    assert len(naps) == 3
    (line,) = said
    assert line.startswith("20.0 GiB are available and 80.0 GiB needed; waiting")


def test_memory_that_does_not_come_back_is_an_error_with_the_numbers() -> None:
    with pytest.raises(DoesNotFitError, match=r"needs 80.0 GiB, and 20.0 GiB"):
        wait(20 * GIB)
