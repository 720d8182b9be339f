"""Where checkpoints of the Hub are kept, and how much is free there."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def hub_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where huggingface_hub keeps what it downloads.

    Source:
        huggingface_hub, environment variables: HF_HUB_CACHE, then ``hub`` in HF_HOME.
    """
    named = environ.get("HF_HUB_CACHE")
    return Path(named) if named else hub_home(environ) / "hub"


def hub_home(environ: Mapping[str, str]) -> Path:
    """Return the folder of all that belongs to the Hub."""
    if named := environ.get("HF_HOME"):
        return Path(named)
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface"


def hub_free(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the bytes that are free where the Hub's cache is, or would be made."""
    try:
        return shutil.disk_usage(existing(hub_cache(environ).absolute())).free
    except OSError:
        return None


def existing(path: Path) -> Path:
    """Return ``path``, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
