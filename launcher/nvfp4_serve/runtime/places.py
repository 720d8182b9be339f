"""Where engines and instances live: the XDG folders. Reads the environment."""

import os
from pathlib import Path

_OURS = "nvfp4-serve"


def engines_folder() -> Path:
    """Return the folder of the managed engines (``$XDG_DATA_HOME``)."""
    return _base("XDG_DATA_HOME", ".local/share") / _OURS / "engines"


def instances_folder() -> Path:
    """Return the folder of logs and records (``$XDG_STATE_HOME``)."""
    return _base("XDG_STATE_HOME", ".local/state") / _OURS / "instances"


def _base(variable: str, under_home: str) -> Path:
    # The XDG specification: a relative path is invalid and to be ignored.
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / under_home
