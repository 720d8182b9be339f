"""What the gate watches and asks. Protocols and values; nothing is touched here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Takes one line for the person who waits.
Say = Callable[[str], None]


class End(Protocol):
    """How an engine ended."""

    @property
    def how(self) -> str:
        """As ``was killed by signal 9 (SIGKILL)``; a verb, for a sentence."""
        ...

    @property
    def out_of_memory(self) -> bool:
        """True when the kernel killed a process for its memory meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """A started engine, as far as the gate is concerned.

    Attributes:
        url: Where it will answer.
        log: The file that it writes.
        model: The name under which it serves the model.
        api_key: What it wants to be shown, if it wants a key.
        ended: How it ended; None while it runs.
        log_lag: Seconds by which the file may be behind what the engine wrote.
    """

    url: str
    log: Path
    model: str
    api_key: str | None
    ended: Callable[[], End | None]
    log_lag: float = 0.0
