"""Whether an engine has ended, how, and what its log gives as the cause."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.ready.log import read_log
from nvfp4_serve.ready.phases import find_cause
from nvfp4_serve.ready.types import Watched

#: Seconds between two looks at an engine; what a start may lose to the gate.
LOOK: Final = 0.1
#: Lines of a log that are shown where none of them is known for a cause.
_LAST_LINES: Final = 5


def explain_end(engine: Watched, how: str, *, out_of_memory: bool) -> EngineError:
    """Return the error that says how and why ``engine`` ended."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    cause = find_cause(_kept(read_log(engine.log), last))
    fix = "Read its log; what it says last is not always the cause."
    if out_of_memory:
        fix = (
            "The kernel killed a process to free memory. Take a smaller "
            "`--max-model-len`, stop other programs, or use a machine with more memory."
        )
    return EngineError(
        f"The engine {how}.",
        evidence=(*((cause,) if cause else last), f"log: `{engine.log}`"),
        fix=fix,
    )


def _kept(lines: Iterable[str], last: deque[str]) -> Iterator[str]:
    """Yield ``lines``, and keep the last of them that say something."""
    for line in lines:
        if line.strip():
            last.append(line[:300])
        yield line


def check_alive(engine: Watched) -> None:
    """Check that ``engine`` runs.

    Raises:
        EngineError: It has ended.
    """
    if end := engine.ended():
        raise explain_end(engine, end.how, out_of_memory=end.out_of_memory)


def check_alive_for(engine: Watched, seconds: float) -> None:
    """Check that ``engine`` runs, and still does so some time later.

    Raises:
        EngineError: It has ended.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check_alive(engine)
        time.sleep(LOOK)
