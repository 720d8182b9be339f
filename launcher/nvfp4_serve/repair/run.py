"""Repair -> the repaired folder: write, verify, read it again, name it.

The source is only read. The result has its name once all of it is written, on the disk
and found right; until then it grows in ``DST.partial``, which has no config.json.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.errors import CheckpointError, DoesNotFitError, HostError, UsageError
from nvfp4_serve.finding import Severity
from nvfp4_serve.repair.copying import Copier, KernelCopier
from nvfp4_serve.repair.finished import find_finished, published
from nvfp4_serve.repair.partial import (
    check_target,
    partial_folder,
    partial_of,
    refuse_others,
    write_text,
)
from nvfp4_serve.repair.report import report
from nvfp4_serve.repair.space import check_space, free_bytes
from nvfp4_serve.repair.types import CONFIG, RECORD, Repair, Say
from nvfp4_serve.repair.verify import copy_faults, shard_faults
from nvfp4_serve.repair.write import write_copy, write_shard
from nvfp4_serve.units import format_bytes

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOWN: Final = 8


def run_repair(
    repair: Repair, target: Path, say: Say, copier: Copier | None = None
) -> dict[str, Any]:
    """Write the repaired checkpoint to ``target``; return its record.

    The record that is returned says where the source is; the one that is written does
    not.

    Args:
        repair: What is to be done.
        target: A folder that is not there yet, or the finished repair of this source.
        say: Is told what goes on.
        copier: How bytes are copied; by default as fast as the files allow.

    Raises:
        UsageError: ``target`` cannot be written, or is something else.
        DoesNotFitError: The file system is too small. What is done is kept.
        CheckpointError: The source was changed meanwhile, or the result is not right;
            there is no result then.
    """
    place = check_target(target, repair.source.folder)
    with file_system(place):
        done = find_finished(place, repair, say)
    if done is not None:
        return done
    growing = partial_folder(place, repair.fingerprint, repair.names(), say)
    with file_system(place), growing as folder:
        # Another one may have finished it before we had the lock.
        done = find_finished(place, repair, say)
        if done is not None:
            shutil.rmtree(folder)
            return done
        _grow(repair, folder, copier or KernelCopier(), say)
        return _finish(repair, folder, place)


def _grow(repair: Repair, folder: Path, copier: Copier, say: Say) -> None:
    """Write and verify all but ``config.json``."""
    source = Folder(repair.source.folder, shown=repair.source.model)
    work = _Work(repair, source, folder, copier, say)
    kept = work.drop_wrong_ones()
    try:
        check_space(repair, folder, source)
    except DoesNotFitError:
        if not kept:
            shutil.rmtree(folder)
        raise
    work.write()
    work.verify()


class _Work:
    """One repair under way.

    Attributes:
        right: Names of files of the result that were found right.
    """

    def __init__(
        self, repair: Repair, source: Folder, folder: Path, copier: Copier, say: Say
    ) -> None:
        self._repair = repair
        self._source = source
        self._folder = folder
        self._copier = copier
        self._say = say
        self._right: set[str] = set()

    def drop_wrong_ones(self) -> bool:
        """Verify what an earlier run left, and return whether any of it is right.

        What is not right is removed.
        """
        for name, faults in self._checks():
            if not (self._folder / name).exists():
                continue
            if next(faults(), None) is None:
                self._right.add(name)
                self._say(f"{name} is there already, and right")
            else:
                (self._folder / name).unlink()
        return bool(self._right)

    def write(self) -> None:
        """Write what is not there yet."""
        for shard in self._repair.shards:
            path = self._folder / shard.file.name
            if shard.file.name not in self._right:
                shared = write_shard(self._source, shard, path, self._copier)
                self._say(_said("written anew", shard.file.name, shard.size, shared))
        for file in self._repair.copies:
            if file.name not in self._right:
                path = self._folder / file.name
                shared = write_copy(self._source, file, path, self._copier)
                self._say(_said("copied", file.name, file.size, shared))
        for name, data in self._repair.texts.items():
            if name != CONFIG:
                write_text(self._folder / name, data)

    def verify(self) -> None:
        """Hold everything against the source.

        Raises:
            CheckpointError: Something is not right; nothing is left of the result.
        """
        self._say("verifying")
        wrong: list[str] = []
        for name, faults in self._checks():
            if name not in self._right:
                wrong.extend(faults())
        if not wrong:
            return
        shutil.rmtree(self._folder)
        more = (f"and {len(wrong) - _SHOWN:,} more",) if len(wrong) > _SHOWN else ()
        raise CheckpointError(
            f"{len(wrong):,} parts of what was written are not what they should be; "
            "all of it was removed again.",
            evidence=(*wrong[:_SHOWN], *more),
            fix="The source is untouched. Check the disk and the memory of this "
            "machine, and run this again.",
        )

    def _checks(self) -> Iterator[tuple[str, Callable[[], Iterator[str]]]]:
        """Yield each file of the result, and how to find its faults."""
        for shard in self._repair.shards:
            faults = partial(shard_faults, self._source, shard, self._folder)
            yield shard.file.name, faults
        for file in self._repair.copies:
            yield file.name, partial(copy_faults, self._source, file, self._folder)


def _finish(repair: Repair, folder: Path, place: Path) -> dict[str, Any]:
    """Make the folder a checkpoint, read it as one, and give it its name."""
    record = report(repair) | {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    refuse_others(folder, repair.names())
    write_text(folder / CONFIG, repair.texts[CONFIG])
    try:
        _check_layout(folder)
    except CheckpointError:
        shutil.rmtree(folder)
        raise
    said = published(record, repair.source)
    write_text(folder / RECORD, json.dumps(said, indent=2).encode() + b"\n")
    for path in (*(p for p in folder.rglob("*") if p.is_dir()), folder):
        _sync(path)
    folder.rename(place)
    _sync(place.parent)
    return record


def _check_layout(folder: Path) -> None:
    """Raise unless what was written needs no repair, and may be served."""
    layout = read_layout(read_checkpoint(str(folder)))
    wrong = [
        f"{finding.id}: {finding.message}"
        for finding in layout.findings
        if finding.severity is Severity.ERROR
    ]
    wrong += [f"still to rewrite: {kind}" for kind in layout.rewrites]
    wrong += layout.overlay.changes if layout.overlay else ()
    if wrong:
        raise CheckpointError(
            "What was written is not a right checkpoint; all of it was removed again.",
            evidence=tuple(wrong[:_SHOWN]),
            fix="The source is untouched. Export it again, and report this: "
            "`nvfp4-serve inspect` of the source and of an export should agree.",
        )


def _said(done: str, name: str, size: int, shared: int) -> str:
    part = f", {format_bytes(shared)} shared" if shared else ""
    return f"{name} {done} ({format_bytes(size)}{part})"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def file_system(place: Path) -> Iterator[None]:
    """Make what the file system says no to an error for people."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DoesNotFitError(
                f"Writing beside `{place}` failed: {error.strerror}.",
                evidence=(f"{format_bytes(free_bytes(place.parent))} are free there",),
                fix="Make room, and run the same again: it goes on with the file that "
                f"failed, for what is done is kept in `{partial_of(place)}`.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UsageError(
                f"`{error.filename or place}` cannot be written: {error.strerror}.",
                fix="Give a target where you may write.",
            ) from error
        raise HostError(
            f"The file system failed: {error.strerror}.",
            evidence=(str(error.filename or place),),
            fix="See what the kernel says (`dmesg`), and run the same again.",
        ) from error
