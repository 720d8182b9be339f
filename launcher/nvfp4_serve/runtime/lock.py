"""One at a time: a lock that the kernel lets go when its holder ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from nvfp4_serve.runtime.types import Say


@contextlib.contextmanager
def exclusive_or_not(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` and give True; False where another holds it."""
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def exclusive(path: Path, *, waiting_for: str, say: Say) -> Iterator[None]:
    """Hold the lock file ``path``; say so first when another process holds it.

    The file stays: removing it would let two hold what each takes for the lock.
    """
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            say(f"waiting for {waiting_for} (process {holder})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` beside others that share it, against `exclusive`."""
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
