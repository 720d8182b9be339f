"""Folders as things that are locked and told from each other. Standard library only."""

import contextlib
import fcntl
import os
from pathlib import Path


def lock_folder(folder: Path) -> int | None:
    """Return ``folder``, open and locked; the kernel lets it go with its holder.

    Returns:
        None where it was removed or renamed before we had the lock: make it, and ask
        again.

    Raises:
        BlockingIOError: Somebody else has it.
        OSError: It is no folder, or cannot be opened.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), folder.lstat()):
            return handle
    os.close(handle)
    return None


def is_same(path: Path, other: Path) -> bool:
    """Return whether both lead to one file or folder that is there."""
    try:
        return path.samefile(other)
    except OSError:
        return False
