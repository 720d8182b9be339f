"""Programs that work for us and end when we end, whatever ends us."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; runs before ``exec``."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def followed(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[Iterator[str]]:
    """Run ``command``; give the lines of its stdout as they come.

    When the block ends, so do the program and all that it has started and that is still
    in its process group. What went to a group or session of its own stays.

    Args:
        command: The program and its arguments.
        environment: All of it.
        log: Takes what it writes to stderr.

    Raises:
        EngineError: It cannot be run.
    """
    with log.open("xb") as stderr:
        try:
            child = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                # Its own session: the terminal's Ctrl-C reaches us alone.
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - we run one thread
            )
        except OSError as error:
            raise EngineError(
                f"`{command[0]}` cannot be run: {error.strerror}.",
                fix="Install it again: `nvfp4-serve engine install`.",
            ) from error
    with child:
        try:
            if child.stdout is None:
                raise AssertionError("stdout was asked for as a pipe")
            yield iter(child.stdout)
        finally:
            # Not yet waited for, so its number is still that of its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
