"""Path or Hub id -> Checkpoint -> Layout. Headers only; no weight byte is read.

Of a local folder the global scales of a few modules are read too, 4 bytes each: the one
thing that no header says (``scalars``).
"""

from pathlib import Path
from typing import Final

from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.checkpoint.layout import layout_json, read_layout
from nvfp4_serve.checkpoint.read import Where, read_files
from nvfp4_serve.checkpoint.types import Checkpoint
from nvfp4_serve.errors import CheckpointError

__all__ = ["layout_json", "read_checkpoint", "read_layout"]

_LOOKS_LIKE_A_PATH: Final = ("/", "./", "../", "~")


def read_checkpoint(model: str, *, revision: str | None = None) -> Checkpoint:
    """Return what the small files and the headers of ``model`` say.

    Args:
        model: A folder, if it is one or begins like a path (``/``, ``./``, ``../``,
            ``~``); else the id of a model on the Hub.
        revision: Branch, tag or commit on the Hub; not for a folder.

    Raises:
        CheckpointError: It cannot be read, or is malformed; names every fault.
    """
    path = _expanded(model)
    if not model.startswith(_LOOKS_LIKE_A_PATH) and not _is_folder(path):
        # Importing huggingface_hub takes longer than reading a local folder.
        from nvfp4_serve.checkpoint.source import read_from_hub

        return read_from_hub(model, revision=revision)
    if revision is not None:
        raise CheckpointError(
            f"`{model}` is a folder, and a folder has no revision {revision!r}.",
            fix="Leave out `--revision`, or give a Hub id.",
        )
    return read_files(
        Folder(path, shown=model), Where(model, str(path.absolute()), None)
    )


def _expanded(model: str) -> Path:
    try:
        return Path(model).expanduser()
    except RuntimeError as error:
        raise CheckpointError(
            f"The home folder in `{model}` is not known.",
            fix="Write the path without `~`.",
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # Closed to us; whoever reads it will say so.
