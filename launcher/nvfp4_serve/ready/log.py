"""Reads a log that is still being written."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Bytes taken at one look; the rest comes with the next.
_CHUNK: Final = 1 << 20
#: A line is cut here: a progress bar without a line end must not fill the memory.
_MAX_LINE: Final = 1 << 16


class LogReader:
    """Follows a log: each look gives the complete lines since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self._last: deque[str] = deque(maxlen=20)

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that were completed since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return
        self._offset += len(data)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_MAX_LINE:]
        for raw in lines:
            line = raw[-_MAX_LINE:].decode(errors="replace").rstrip("\r")
            self._last.append(line)
            yield line

    def last_lines(self, count: int) -> tuple[str, ...]:
        """Return the last ``count`` lines that were not empty."""
        return tuple(line for line in self._last if line.strip())[-count:]


def read_log(path: Path) -> Iterator[str]:
    """Yield every line of the log at ``path`` as it is now."""
    with path.open("rb") as file:
        for raw in file:
            yield raw[-_MAX_LINE:].decode(errors="replace").rstrip("\r\n")
