"""Copies what a container writes into the file that the ready gate reads."""

import threading
from pathlib import Path

from nvfp4_serve.runtime.containers import (
    ContainerEngine,
    EngineGoneError,
    EngineRefusedError,
)


class LogCopy:
    """A thread that follows one container's log until it ends."""

    def __init__(self, engine: ContainerEngine, container: str, log: Path) -> None:
        self._engine = engine
        self._container = container
        self._log = log
        # A daemon: a launcher that leaves a container behind does not wait for its end.
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait until the last line is in the file, for at most ``seconds``."""
        self._thread.join(seconds)

    def _copy(self) -> None:
        try:
            copy_log(self._engine, self._container, self._log, follow=True)
        except (EngineGoneError, EngineRefusedError):
            # Whoever watches the container finds out by itself, and says it better.
            return


def copy_log(
    engine: ContainerEngine, container: str, log: Path, *, follow: bool
) -> None:
    """Write what ``container`` has written to ``log``; go on until it ends, if asked.

    Raises:
        EngineGoneError: The engine broke off.
        EngineRefusedError: It does not give the log.
    """
    with log.open("wb", buffering=0) as file:
        for chunk in engine.logs(container, follow=follow):
            file.write(chunk)
