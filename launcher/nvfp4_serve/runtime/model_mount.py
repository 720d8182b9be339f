"""How a checkpoint gets into a container. Reads names, links and modes only."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError

#: Where every container finds the model; no name of this machine can clash with it.
MODEL: Final = "/model"
#: The Hub's cache keeps files as ``models--org--name/blobs/...``, and a revision as a
#: folder of links to them. huggingface_hub, "Understand caching".
_CACHED: Final = "models--"


@dataclass(frozen=True, slots=True)
class ModelMount:
    """A folder of this machine, and what the engine in the container calls the model.

    Attributes:
        source: The folder that is mounted, read-only, at ``/model``.
        path: Where the model is then: ``/model``, or below it.
    """

    source: str
    path: str


def mount_model(folder: str, user: tuple[int, int]) -> ModelMount:
    """Return how ``folder`` is mounted.

    A revision in the Hub's cache links to blobs beside it, so the folder of the whole
    model is mounted. No other link may lead out of the folder: the container would not
    see its target, and a foreign checkpoint must not choose what of this machine it
    sees.

    Args:
        folder: The checkpoint's.
        user: uid and gid that the container runs as; what it must be able to read.

    Raises:
        EngineError: A link leads out of it or to nothing, or a file cannot be read by
            ``user``.
    """
    real = Path(folder).resolve()
    root = _mounted(real)
    entries = sorted(real.rglob("*"))
    strays = [
        f"{path.relative_to(real)} -> {os.path.realpath(path)}"
        for path in entries
        # Not `resolve`, which raises where links go in a circle.
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root)
    ]
    if strays:
        raise EngineError(
            f"`{folder}` has links that lead out of it; a container sees only what is "
            "in it.",
            evidence=tuple(strays[:8]),
            fix="Put the files themselves there (`cp -rL`), or serve it with "
            "`--runtime local`.",
        )
    _check_links(folder, real, entries)
    _check_readable(folder, (real, *entries), user)
    inside = real.relative_to(root)
    return ModelMount(str(root), f"{MODEL}/{inside}" if inside.parts else MODEL)


def _check_links(folder: str, real: Path, entries: list[Path]) -> None:
    """Refuse links to nothing: a copy that was broken off, or links in a circle."""
    broken = [
        f"{path.relative_to(real)} -> {path.readlink()}"
        for path in entries
        if path.is_symlink() and not path.exists()
    ]
    if broken:
        raise EngineError(
            f"`{folder}` has links that lead to nothing.",
            evidence=tuple(broken[:8]),
            fix="Fetch or copy what is missing, or remove the links.",
        )


def _mounted(real: Path) -> Path:
    """Return the folder of the whole model where ``real`` is one of its revisions."""
    of_model = real.parent.parent
    is_cached = real.parent.name == "snapshots" and of_model.name.startswith(_CACHED)
    return of_model if is_cached else real


def _check_readable(
    folder: str, paths: tuple[Path, ...], user: tuple[int, int]
) -> None:
    closed = [str(path) for path in paths if not _may_read(path.stat(), user)]
    if closed:
        uid, gid = user
        raise EngineError(
            f"The container runs as user {uid}:{gid}, which may not read `{folder}`.",
            evidence=tuple(closed[:8]),
            fix=f"Open it to everybody (`chmod -R o+rX {folder}`), or start the "
            "launcher as its owner.",
        )


def _may_read(found: os.stat_result, user: tuple[int, int]) -> bool:
    """Say whether the mode lets ``user`` read it; folders must be entered too."""
    uid, gid = user
    if found.st_uid == uid:
        bits = found.st_mode >> 6
    elif found.st_gid == gid:
        bits = found.st_mode >> 3
    else:
        bits = found.st_mode
    wanted = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    return bits & wanted == wanted
