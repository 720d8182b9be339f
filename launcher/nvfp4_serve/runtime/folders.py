"""The folders of the managed engines: whole ones, partial ones, and their locks."""

import shutil
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.instances import list_instances, no_other_start
from nvfp4_serve.runtime.lock import exclusive_or_not
from nvfp4_serve.runtime.places import unusable
from nvfp4_serve.runtime.types import Say

_PARTIAL: Final = ".partial"


def lock_of(engines: Path, identity: str) -> Path:
    """Return the lock of whoever makes or removes the engine ``identity``."""
    return engines / f"{identity}.lock"


def partial_of(folder: Path) -> Path:
    """Return where the engine ``folder`` is made, and taken apart."""
    return folder.with_name(f"{folder.name}{_PARTIAL}")


def is_partial(folder: Path) -> bool:
    """True where ``folder`` is not to be taken for an engine, whatever is in it."""
    return folder.name.endswith(_PARTIAL)


def identity_of(folder: Path) -> str:
    """Return the id of the engine in ``folder``, whole or partial."""
    return folder.name.removesuffix(_PARTIAL)


def remove_folder(folder: Path) -> None:
    """Remove ``folder`` where there is one."""
    if folder.exists():
        shutil.rmtree(folder)


def take_away(folder: Path, say: Say) -> None:
    """Remove the engine in ``folder``, whole or partial, that nobody uses.

    The caller holds its lock.

    Raises:
        EngineError: Something runs on it, or it cannot be removed.
    """
    doomed = partial_of(folder)
    with no_other_start(say):
        _refuse_in_use(folder.name)
        try:
            remove_folder(doomed)
            # Renamed first: an engine that is half removed must not pass for one.
            if folder.exists():
                folder.rename(doomed)
        except OSError as error:
            raise unusable(error, folder, "XDG_DATA_HOME") from error
    try:
        remove_folder(doomed)
    except OSError as error:
        raise unusable(error, doomed, "XDG_DATA_HOME") from error


def clear_left_over(engines: Path, say: Say) -> None:
    """Remove what killed installations have left, of any engine."""
    for folder in sorted(engines.glob(f"*{_PARTIAL}")):
        identity = identity_of(folder)
        with exclusive_or_not(lock_of(engines, identity)) as is_ours:
            if is_ours:
                say(f"clearing away an unfinished installation of {identity}")
                remove_folder(folder)


def _refuse_in_use(identity: str) -> None:
    users = [i for i in list_instances() if i.engine == identity]
    if users:
        raise EngineError(
            f"The engine `{identity}` is in use.",
            evidence=tuple(f"{i.id}  {i.url}  pid {i.pid}" for i in users),
            fix=f"Stop what runs on it first: `nvfp4-serve stop {users[0].id}`.",
        )
