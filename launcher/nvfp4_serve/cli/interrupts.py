"""Ctrl-C, SIGTERM and SIGHUP: the first stops cleanly, the second at once."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the signals that ask this process to end.

    The first one raises ``KeyboardInterrupt``, but only where that was allowed: not
    between the birth of an engine and the note of its pid, and not while it is being
    stopped. Every later one is only counted.
    """

    def __init__(self) -> None:
        self.count = 0
        self._allowed = False

    def again(self) -> bool:
        """True once a second signal has come."""
        return self.count > 1

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let the first signal interrupt what runs inside, or has come before it."""
        self._allowed = True
        try:
            if self.count:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take one signal, as a signal handler."""
        self.count += 1
        if self._allowed and self.count == 1:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Take the signals that end a process, until the block ends.

    What our starter has us ignore stays ignored: SIGHUP under `nohup`, SIGINT in the
    background of a script.
    """
    taken = Interrupts()
    heeded = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, taken.take) for number in heeded}
    try:
        yield taken
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
