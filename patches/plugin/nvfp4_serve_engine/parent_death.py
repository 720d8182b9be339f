"""Ask the kernel to end this process with its parent. Linux only; no vLLM."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

#: Set by who starts the engine: its own process id, or "1" for "whoever it is".
VARIABLE = "NVFP4_SERVE_DIE_WITH_PARENT"

_first_process: int | None = None

#: From ``linux/prctl.h``.
_PR_SET_PDEATHSIG = 1


def follow_starter() -> None:
    """Make this process, the first one of the engine, end with its starter."""
    global _first_process  # noqa: PLW0603  (a fact about this process)
    _first_process = os.getpid()
    if is_asked_for():
        value = int(os.environ[VARIABLE])
        _die_with_parent(None if value == 1 else value)


def follow_engine() -> None:
    """Make this process, a later one of the engine, end with the one that made it."""
    if is_asked_for() and os.getpid() != _first_process:
        # vLLM's processes are spawned: by the time they come here, seconds after
        # their start, the one that made them may be gone already.
        maker = multiprocessing.parent_process()
        _die_with_parent(None if maker is None else maker.pid)


def is_asked_for() -> bool:
    """Tell whether the starter of this engine wants it to end with it."""
    return sys.platform == "linux" and bool(os.environ.get(VARIABLE))


def _die_with_parent(expected_parent: int | None) -> None:
    """Have the kernel kill this process when its parent dies.

    A launcher that was killed with SIGKILL cannot stop its engine; the kernel can.
    The request is not inherited, so each process of the engine makes its own.

    SIGKILL, not SIGTERM: vLLM 0.32.0 was seen to outlive a SIGTERM during its start
    by more than 20 seconds, and a process that loads weights does not look at
    signals for minutes. Shared memory is not left behind: Python's resource tracker
    is a process of its own, which removes it when the others are gone.

    The kernel watches the *thread* that started this process (``man 2 prctl``): a
    launcher must start the engine from a thread that lives as long as itself.

    Args:
        expected_parent: The process id that the parent must have, if it is known.
            A parent that died before the request was made sends nothing, so this
            process ends itself when its parent is another one by now.
    """
    before = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(code)}")
    if os.getppid() != (before if expected_parent is None else expected_parent):
        signal.raise_signal(signal.SIGKILL)
