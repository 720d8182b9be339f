"""A finished repair: what it says of itself, and whether it is still right."""

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.errors import UsageError
from nvfp4_serve.repair.partial import read_record
from nvfp4_serve.repair.report import report
from nvfp4_serve.repair.types import Repair, Say, Source
from nvfp4_serve.repair.verify import copy_faults, shard_faults

_SHOWN: Final = 8


def published(record: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return ``record`` without where things are on the machine that made it."""
    said = {k: v for k, v in record["source"].items() if k != "folder"}
    # Only a Hub id has a revision.
    said["model"] = source.model if source.revision else source.folder.name
    return record | {"source": said}


def find_finished(place: Path, repair: Repair, say: Say) -> dict[str, Any] | None:
    """Return the record of ``place``, where it is this very repair; None: nothing.

    All of it is read, and held against the source.

    Raises:
        UsageError: Something else is there, or it is not what was written.
        CheckpointError: The source was changed meanwhile.
    """
    if not os.path.lexists(place):
        return None
    record = read_record(place)
    if (
        record is None
        or record.get("fingerprint") != repair.fingerprint
        or record.get("unfinished")
    ):
        raise UsageError(
            f"`{place}` is there already, and is not the repair of this checkpoint.",
            fix="Give a folder that is not there, or remove it.",
        )
    say(f"verifying {place}, which is there already")
    faults = tuple(islice(_faults(place, repair), _SHOWN))
    if faults:
        raise UsageError(
            f"`{place}` is there already, and is not the repair of this checkpoint any "
            "more: it was changed or damaged since.",
            evidence=faults,
            fix="Remove it and run this again, or give a folder that is not there.",
        )
    say(f"already repaired: {place}")
    return record | {"source": report(repair)["source"]}


def _faults(place: Path, repair: Repair) -> Iterator[str]:
    """Yield what is not as it was written; the sizes first, for they are quick."""
    wrong = [name for name, size in _sizes(repair) if not _has_size(place, name, size)]
    if wrong:
        yield from (f"`{name}` is not there, or has another size" for name in wrong)
        return
    for name, data in repair.texts.items():
        if (place / name).read_bytes() != data:
            yield f"`{name}`"
    source = Folder(repair.source.folder, shown=repair.source.model)
    for shard in repair.shards:
        yield from shard_faults(source, shard, place)
    for file in repair.copies:
        yield from copy_faults(source, file, place)


def _sizes(repair: Repair) -> Iterator[tuple[str, int]]:
    yield from ((shard.file.name, shard.size) for shard in repair.shards)
    yield from ((file.name, file.size) for file in repair.copies)
    yield from ((name, len(data)) for name, data in repair.texts.items())


def _has_size(folder: Path, name: str, size: int) -> bool:
    """Return whether that file, no link, has ``size`` bytes."""
    try:
        found = (folder / name).lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
