"""Ask the kernel to end this process with its parent. Linux only; no vLLM."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: Set by who starts the engine: its own process id, or "1" for "whoever it is".
VARIABLE = "NVFP4_SERVE_DIE_WITH_PARENT"

_first_process: int | None = None

#: From ``linux/prctl.h``.
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals, expected_parent: int | None) -> None:
    """Have the kernel send ``number`` to this process when its parent dies.

    A launcher that is killed with SIGKILL cannot stop its engine; the kernel can.
    The request is not inherited, so each process of the engine makes its own.

    The kernel watches the *thread* that started this process (``man 2 prctl``): a
    launcher must start the engine from a thread that lives as long as itself.

    Args:
        number: The signal to be sent.
        expected_parent: The process id that the parent must have, if it is known.
            A parent that died before the request was made sends nothing, so this
            process ends itself when its parent is another one by now.
    """
    before = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(code)}")
    if os.getppid() != (before if expected_parent is None else expected_parent):
        signal.raise_signal(number)


def is_asked_for() -> bool:
    """Tell whether the starter of this engine wants it to end with it."""
    return sys.platform == "linux" and bool(os.environ.get(VARIABLE))


def follow_starter() -> None:
    """Make this process, the first one of the engine, end with its starter.

    SIGTERM, so that the server can finish: vLLM ends its own children then.
    """
    global _first_process  # noqa: PLW0603  (a fact about this process)
    _first_process = os.getpid()
    if is_asked_for():
        value = int(os.environ[VARIABLE])
        die_with_parent(signal.SIGTERM, None if value == 1 else value)


def is_first_process() -> bool:
    """Tell whether ``follow_starter`` was called in this very process."""
    return _first_process == os.getpid()


def follow_engine() -> None:
    """Make this process, a later one of the engine, end with the one that made it.

    SIGKILL: a process that is loading weights does not look at signals for minutes,
    and with its parent gone there is nobody left to answer to.
    """
    if is_asked_for():
        die_with_parent(signal.SIGKILL, None)
