"""Whether an engine has ended, how, and what its log gives as the cause."""

import time
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.ready.log import read_log
from nvfp4_serve.ready.phases import find_cause
from nvfp4_serve.ready.types import Watched

#: Seconds between two looks at an engine; what a start may lose to the gate.
LOOK: Final = 0.1


def explain_end(engine: Watched, how: str, *, out_of_memory: bool) -> EngineError:
    """Return the error that says how and why ``engine`` ended."""
    cause = find_cause(read_log(engine.log))
    fix = "Read its log; what it says last is not always the cause."
    if out_of_memory:
        fix = (
            "The kernel killed a process to free memory. Take a smaller "
            "`--max-model-len`, stop other programs, or use a machine with more memory."
        )
    return EngineError(
        f"The engine {how}.",
        evidence=(*((cause,) if cause else ()), f"log: `{engine.log}`"),
        fix=fix,
    )


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
