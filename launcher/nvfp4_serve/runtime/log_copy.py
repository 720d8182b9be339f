"""Copies what a container writes into the file that the ready gate reads."""

import threading
import time
from pathlib import Path
from typing import Final

from nvfp4_serve.runtime.containers import (
    ContainerEngine,
    EngineGoneError,
    EngineRefusedError,
)

#: Times, and seconds between them.
_TRIES: Final = 30
_PAUSE: Final = 1.0


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
        # An engine that is updated breaks off, and its containers may run on: then the
        # log is copied anew. Whoever watches the container says what is wrong with it.
        for _ in range(_TRIES):
            try:
                copy_log(self._engine, self._container, self._log, follow=True)
            except EngineGoneError:
                time.sleep(_PAUSE)
            except EngineRefusedError:
                return
            else:
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
