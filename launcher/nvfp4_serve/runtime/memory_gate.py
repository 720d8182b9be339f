"""Waits until a machine whose GPU shares its memory has given it back.

After an engine has stopped, GB10's memory returns late: 60 s to over 3 minutes were
seen; and a start before that makes the machine hang. Source: model-serving-minefield,
traps 81 and 119; open-gpu-kernel-modules#1358.
"""

import time
from collections.abc import Callable
from typing import Final

from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.memory import Memory, read_memory
from nvfp4_serve.runtime.types import Say
from nvfp4_serve.units import format_bytes

#: Seconds: longer than was seen.
_LONGEST: Final = 240.0
_LOOK: Final = 1.0


def wait_for_memory(
    needed: int,
    say: Say,
    *,
    read: Callable[[], Memory] = read_memory,
    longest: float = _LONGEST,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once ``needed`` bytes are available.

    Raises:
        DoesNotFitError: They are not, and do not become so.
    """
    available = read().available
    if available >= needed:
        return
    say(
        f"{format_bytes(available)} are available and {format_bytes(needed)} needed; "
        "waiting for what was stopped to give its memory back"
    )
    waited = 0.0
    while waited < longest:
        sleep(_LOOK)
        waited += _LOOK
        available = read().available
        if available >= needed:
            return
    raise DoesNotFitError(
        f"The engine needs {format_bytes(needed)}, and {format_bytes(available)} are "
        f"available after {longest:.0f} s.",
        fix="`nvfp4-serve doctor` looks for what holds it; stop that, or reboot. A "
        "start without the memory makes such a machine hang.",
    )
