"""Where the checkpoint grows: ``OUT.partial``, marked as ours, for one run at a time.

The lock is on the folder itself, and the kernel lets it go when its holder ends.
"""

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import QuantizeError, UsageError
from nvfp4_serve.folder_lock import is_same, lock_folder
from nvfp4_serve.quantize.conversation import Say
from nvfp4_serve.quantize.types import Wish

#: The file that says that a run of ours made the folder; it goes last.
_MARK: Final = ".nvfp4-serve-quantize"
#: The new checkpoint, until it has its name.
CHECKPOINT: Final = "checkpoint"
#: The file that says that the checkpoint beside it is whole and right.
_FINISHED: Final = "finished"
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1


def check_place(wish: Wish) -> None:
    """Refuse an OUT that is there, cannot be made, or is mixed up with what is read.

    Raises:
        UsageError: Says which, and what to give instead.
    """
    if os.path.lexists(wish.out):
        raise UsageError(
            f"`{wish.out}` is there already; nothing is written over.",
            fix="Remove it, or give another OUT.",
        )
    parent = wish.out.absolute().parent
    if not parent.is_dir():
        raise UsageError(
            f"`{parent}` is no folder; OUT cannot be made in it.", fix="Make it first."
        )
    place = parent.resolve() / wish.out.name
    model = Path(wish.model).expanduser()
    if model.is_dir():
        _check_outside(place, model)
        for path in (model, *model.iterdir()):
            _check_kept(path, partial_of(place))
    if wish.calibration is not None:
        _check_kept(wish.calibration, partial_of(place))


def partial_of(out: Path) -> Path:
    """Return where the result grows."""
    return out.with_name(f"{out.name}.partial")


@contextlib.contextmanager
def partial_folder(out: Path, say: Say) -> Iterator[Path]:
    """Give the folder in which the result grows, empty; nobody else has it meanwhile.

    Raises:
        UsageError: Another run is at it, it is not ours, or it holds a finished
            checkpoint.
    """
    folder = partial_of(out)
    handle = _locked(folder)
    try:
        _prepare(folder, say)
        yield folder
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Remove the partial folder; its mark last, so that no half of it is nobody's."""
    _clear(folder)
    (folder / _MARK).unlink(missing_ok=True)
    folder.rmdir()


def is_finished(folder: Path) -> bool:
    """True where the partial folder holds a checkpoint that lacks its name alone."""
    return (folder / _FINISHED).exists() and (folder / CHECKPOINT).exists()


def publish(made: Path, out: Path) -> None:
    """Give the finished checkpoint its name; what is there is never replaced.

    Raises:
        QuantizeError: It cannot have it; the finished checkpoint stays where it is.
    """
    try:
        (made.parent / _FINISHED).touch()
        os.sync()  # A crash must not leave a named checkpoint with unwritten files.
        _rename(made, out)
    except OSError as error:
        there = error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
        why = "something of that name is there now" if there else str(error)
        raise QuantizeError(
            f"The new checkpoint is finished, but cannot be named `{out}`: {why}.",
            evidence=(f"the finished checkpoint is `{made}`",),
            fix=f"Give it a name that is free: `mv -nT {made} NAME`; then remove "
            f"`{made.parent}`.",
        ) from error


def _check_outside(place: Path, model: Path) -> None:
    for path in (place, partial_of(place), *place.parents):
        if is_same(path, model):
            raise UsageError(
                f"OUT would be written into MODEL, `{model}`, which is never changed.",
                evidence=(f"OUT is {place}", f"it grows in {partial_of(place)}"),
                fix="Give an OUT outside of it, with a name of its own.",
            )


def _check_kept(path: Path, partial: Path) -> None:
    """Refuse to read ``path`` where it lies in the folder that is cleared."""
    real = path.resolve()
    if any(is_same(holder, partial) for holder in (real, *real.parents)):
        raise UsageError(
            f"`{path}` lies in `{partial}`, which a run clears: it would be lost.",
            evidence=(f"it is {real}",),
            fix="Move it elsewhere, or give another OUT.",
        )


def _locked(folder: Path) -> int:
    """Return the open folder, locked. It may be removed before we have the lock."""
    while True:
        _make_folder(folder)
        try:
            handle = lock_folder(folder)
        except BlockingIOError as error:
            raise UsageError(
                f"Another `quantize` writes in `{folder}` now.",
                fix="Wait for it, or give another OUT.",
            ) from error
        except OSError as error:
            raise _not_ours(folder, str(error)) from error
        if handle is not None:
            return handle


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(
            f"`{folder}` cannot be made: {error.strerror}.",
            fix="Give an OUT where you may write.",
        ) from error


def _prepare(folder: Path, say: Say) -> None:
    mark = folder / _MARK
    left = [path.name for path in folder.iterdir() if path.name != _MARK]
    if left and (mark.is_symlink() or not mark.is_file()):
        raise _not_ours(folder, f"it holds `{left[0]}` and no `{_MARK}`")
    if is_finished(folder):
        made = folder / CHECKPOINT
        raise UsageError(
            f"`{made}` is a finished checkpoint of an earlier run; it is not cleared.",
            fix=f"Give it a name: `mv -nT {made} NAME`; or remove `{folder}`.",
        )
    if left:
        say(f"clearing away what an earlier run left in `{folder}`")
    mark.touch()
    _clear(folder)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == _MARK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _not_ours(folder: Path, evidence: str) -> UsageError:
    return UsageError(
        f"`{folder}` is there, and no `quantize` made it; nothing in it is touched.",
        evidence=(evidence,),
        fix="Remove or rename it, or give another OUT.",
    )


def _rename(made: Path, out: Path) -> None:
    """Rename a folder; raise OSError where the new name is taken, even by an empty one.

    Where the kernel or the file system cannot do that in one step, the name is taken
    first, by an empty folder of ours.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = _AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(out)
    if hasattr(libc, "renameat2"):
        if libc.renameat2(*names, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOSYS}:
            raise OSError(number, os.strerror(number), str(made), None, str(out))
    out.mkdir()
    try:
        made.rename(out)
    except OSError:
        with contextlib.suppress(OSError):
            out.rmdir()
        raise
