"""Where engines and instances live: the XDG folders. Reads the environment."""

import errno
import os
from pathlib import Path

from nvfp4_serve.errors import EngineError

_OURS = "nvfp4-serve"


def engines_folder() -> Path:
    """Return the folder of the managed engines (``$XDG_DATA_HOME``)."""
    return _base("XDG_DATA_HOME", ".local/share") / _OURS / "engines"


def instances_folder() -> Path:
    """Return the folder of logs and records (``$XDG_STATE_HOME``)."""
    return _base("XDG_STATE_HOME", ".local/state") / _OURS / "instances"


def unusable(
    error: OSError, folder: Path, variable: str, *, so: str = ""
) -> EngineError:
    """Return the error that says why ``folder`` is of no use, and what to do.

    Args:
        error: What the kernel said.
        folder: What was worked in, where the kernel names no file.
        variable: The one that names another place, as ``XDG_STATE_HOME``.
        so: What does not come about for it; a sentence.
    """
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return EngineError(
        f"{so} `{error.filename or folder}` cannot be used: {error.strerror}."
        f"{' The disk is full.' if is_full else ''}".lstrip(),
        fix=f"Free some space, or set {variable} to a folder on a larger disk."
        if is_full
        else f"Check that `{folder}` is yours to write, or set {variable} to a folder "
        "that is.",
    )


def _base(variable: str, under_home: str) -> Path:
    # The XDG specification: a relative path is invalid and to be ignored.
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / under_home
