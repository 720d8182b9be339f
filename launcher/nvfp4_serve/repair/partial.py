"""Where the result grows: ``DST.partial``, for one repair at a time.

The lock is on the folder itself, and the kernel lets it go when its holder ends.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.folder_lock import is_same, lock_folder
from nvfp4_serve.repair.copying import write_all
from nvfp4_serve.repair.types import CONFIG, RECORD, Say

#: A file that is not complete yet is called so.
PART: Final = ".nvfp4-serve-part"
_SHOWN: Final = 8


def check_target(target: Path, source: Path) -> Path:
    """Return ``target`` with its links resolved.

    Raises:
        UsageError: It has no name or no place, or it would be inside of the source.
    """
    if target.name in ("", ".."):
        raise UsageError(
            f"`{target}` has no name of its own that a new folder could get.",
            fix="Give a folder that is not there yet, such as `./repaired`.",
        )
    parent = target.parent.resolve()
    if not parent.is_dir():
        raise UsageError(
            f"There is no folder `{target.parent}`.", fix="Make it, or give another."
        )
    place = parent / target.name
    partial = partial_of(place)
    for path in (place, partial, *place.parents):
        if is_same(path, source):
            raise UsageError(
                f"`{target}` would be written into the checkpoint itself, which is "
                "never changed.",
                evidence=(f"the checkpoint is {source}", f"the target is {place}"),
                fix="Give a folder outside of it.",
            )
    if partial in source.parents:
        raise UsageError(
            f"The checkpoint is inside of `{partial}`, where the result would grow.",
            fix="Give another target.",
        )
    return place


def partial_of(target: Path) -> Path:
    """Return where the result grows."""
    return target.with_name(f"{target.name}.partial")


def read_record(folder: Path) -> dict[str, object] | None:
    """Return what ``folder`` says of its repair; None where it says nothing."""
    try:
        content = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """Give an empty file, open for writing; it gets its name once it is complete.

    Complete: its bytes are on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}{PART}")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        yield handle
        os.fsync(handle)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    part.replace(path)


def write_text(path: Path, data: bytes) -> None:
    """Write a small file whole."""
    with new_file(path) as handle:
        write_all(handle, data, 0)


@contextlib.contextmanager
def partial_folder(
    target: Path, fingerprint: str, names: AbstractSet[str], say: Say
) -> Iterator[Path]:
    """Give the folder in which the result grows; nobody else has it meanwhile.

    What a killed repair of the same left there is kept; any other unfinished one is
    removed.

    Args:
        target: Where the result goes at last.
        fingerprint: Of the repair.
        names: Every file of the result.
        say: Is told what goes on.

    Raises:
        UsageError: Another repair is at it, it is not ours or not unfinished, or
            something else is in it.
    """
    folder = partial_of(target)
    handle = _locked(folder)
    try:
        _prepare(folder, fingerprint, names, say)
        yield folder
    finally:
        os.close(handle)


def refuse_others(folder: Path, names: AbstractSet[str]) -> None:
    """Raise where ``folder`` holds anything but ``names`` and the record.

    Raises:
        UsageError: It does; nothing is removed, for it may be somebody's.
    """
    others = tuple(_others(folder, names | {RECORD}))
    if not others:
        return
    more = (f"and {len(others) - _SHOWN:,} more",) if len(others) > _SHOWN else ()
    raise UsageError(
        f"`{folder}` holds what is no part of the result; none of it was touched.",
        evidence=(*others[:_SHOWN], *more),
        fix="Move that away or remove it, and run the same again; it goes on there.",
    )


def _locked(folder: Path) -> int:
    """Return the open folder, locked. It may be renamed before we have the lock."""
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        try:
            handle = lock_folder(folder)
        except BlockingIOError as error:
            raise UsageError(
                f"Another repair is writing `{folder}`.",
                fix="Wait until it has ended.",
            ) from error
        except OSError as error:
            raise _not_ours(folder) from error
        if handle is not None:
            return handle


def _prepare(folder: Path, fingerprint: str, names: AbstractSet[str], say: Say) -> None:
    record = read_record(folder)
    own = {RECORD, f"{RECORD}{PART}"}
    if record is None and any(path.name not in own for path in folder.iterdir()):
        raise _not_ours(folder)
    # A record that is not a note any more: killed between it and the last rename.
    if record is not None and record.get("fingerprint") == fingerprint:
        refuse_others(folder, names)
        say(f"continuing what was begun in {folder}")
        (folder / CONFIG).unlink(missing_ok=True)
        for path in [p for p in folder.rglob(f"*{PART}") if p.is_file()]:
            path.unlink()
        return
    if record is not None and record.get("unfinished") is not True:
        raise _not_unfinished(folder)
    if record is not None:
        say(f"starting over in {folder}: it was begun for another source or version")
    # The note goes last, so that a folder without one is never half empty.
    for path in folder.iterdir():
        if path.name != RECORD:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    note = {"unfinished": True, "fingerprint": fingerprint}
    write_text(folder / RECORD, json.dumps(note).encode())


def _others(folder: Path, names: AbstractSet[str]) -> Iterator[str]:
    """Yield what is in ``folder`` and no part of the result; links never are."""
    parents = {str(parent) for name in names for parent in Path(name).parents}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            yield name
        elif path.is_dir():
            if name not in parents:
                yield name
        elif name.removesuffix(PART) not in names:
            yield name


def _not_unfinished(folder: Path) -> UsageError:
    return UsageError(
        f"`{folder}` is there, and is not an unfinished repair; it is left as it is.",
        evidence=(f"its `{RECORD}` does not say that it is unfinished",),
        fix="Give another target; or remove that folder by hand, if nobody needs it.",
    )


def _not_ours(folder: Path) -> UsageError:
    return UsageError(
        f"`{folder}` is there, and no repair made it.",
        fix="Remove it, or give another target.",
    )
