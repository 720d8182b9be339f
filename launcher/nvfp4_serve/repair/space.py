"""Whether the result has room on its file system; with the arithmetic."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.repair.copying import can_share
from nvfp4_serve.repair.partial import PART, new_file
from nvfp4_serve.repair.shards import BLOCK, shared_part, steps_of
from nvfp4_serve.repair.types import NewShard, Repair, SourceFile, Span
from nvfp4_serve.units import MIB, format_bytes

#: What the file system itself writes for files: a guess, far on the safe side.
_OVERHEAD: Final = 4 * MIB


@dataclass(frozen=True, slots=True)
class Space:
    """What is to be written, in bytes.

    Attributes:
        anew: New shards and texts.
        copied: Files as they are.
        shareable: Of both, what a file system that shares blocks need not write.
    """

    anew: int
    copied: int
    shareable: int

    def needed(self, *, shares: bool) -> int:
        """Return what has to be free."""
        written = self.anew + self.copied - (self.shareable if shares else 0)
        return written + _OVERHEAD


def space_of(repair: Repair) -> Space:
    """Return what all of ``repair`` takes."""
    return _space(repair.shards, repair.copies, repair.texts.values())


def free_bytes(folder: Path) -> int:
    """Return what may be written there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def check_space(repair: Repair, folder: Path, source: Folder) -> None:
    """Raise where what is still to be written does not fit.

    Raises:
        DoesNotFitError: With what is needed and what is free.
    """
    left = _space(
        [s for s in repair.shards if not (folder / s.file.name).exists()],
        [f for f in repair.copies if not (folder / f.name).exists()],
        repair.texts.values(),
    )
    shares = _shares(repair, folder, source)
    needed, free = left.needed(shares=shares), free_bytes(folder)
    if needed <= free:
        return
    raise DoesNotFitError(
        f"The result needs {format_bytes(needed)}, and {format_bytes(free)} are free "
        f"at `{folder.parent}`.",
        evidence=(
            f"{format_bytes(left.anew)} of shards are written anew",
            f"{format_bytes(left.copied)} of files are copied",
            f"{format_bytes(left.shareable if shares else 0)} of them shared",
            f"{format_bytes(_OVERHEAD)} for the file system itself",
        ),
        fix=f"Free {format_bytes(needed - free)}, or give a target on another file "
        "system.",
    )


def _space(
    shards: Iterable[NewShard], copies: Iterable[SourceFile], texts: Iterable[bytes]
) -> Space:
    shards, copies = tuple(shards), tuple(copies)
    steps = (step for shard in shards for step in steps_of(shard))
    spans = [step for step in steps if isinstance(step, Span)]
    spans += [Span(0, 0, file.size) for file in copies]
    shared = (shared_part(span) for span in spans)
    return Space(
        anew=sum(shard.size for shard in shards) + sum(map(len, texts)),
        copied=sum(file.size for file in copies),
        shareable=sum(span.length for span in shared if span is not None),
    )


def _shares(repair: Repair, folder: Path, source: Folder) -> bool:
    """Return whether a block of the source can be shared with a file of the result."""
    large = [s.file for s in repair.source.shards if s.file.size >= BLOCK]
    if not large:
        return False
    probe = folder / f"probe{PART}"
    try:
        with source.open_file(large[0].name) as file, new_file(probe) as target:
            return can_share(file.fileno(), target)
    finally:
        probe.unlink(missing_ok=True)
