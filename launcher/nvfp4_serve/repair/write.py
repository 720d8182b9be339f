"""New shards and copies -> files. Reads the source, writes below one folder.

Held in memory: a few MiB of bytes on their way, and at most twice the largest matrix
of one expert, where one has to be transposed.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.repair.copying import Copier, write_all
from nvfp4_serve.repair.partial import new_file
from nvfp4_serve.repair.pieces import make_bytes
from nvfp4_serve.repair.shards import steps_of
from nvfp4_serve.repair.types import NewShard, NewTensor, SourceFile, Span


@contextlib.contextmanager
def open_source(folder: Folder, file: SourceFile) -> Iterator[int]:
    """Give ``file`` of the source, open for reading only.

    Raises:
        CheckpointError: It is not what it was when its header was read, now or at the
            end.
    """
    with folder.open_file(file.name) as opened:
        _check_unchanged(opened.fileno(), file)
        yield opened.fileno()
        _check_unchanged(opened.fileno(), file)


def write_shard(folder: Folder, shard: NewShard, path: Path, copier: Copier) -> int:
    """Write one shard anew; return how many bytes of it are shared."""
    with open_source(folder, shard.file) as source, new_file(path) as target:
        write_all(target, shard.head, 0)
        shared = 0
        for step in steps_of(shard):
            if isinstance(step, Span):
                shared += copier.copy(source, target, step)
            else:
                at = len(shard.head) + step.target_at
                write_all(target, made_of(source, step), at)
        return shared


def write_copy(folder: Folder, file: SourceFile, path: Path, copier: Copier) -> int:
    """Copy a file as it is; return how many bytes of it are shared."""
    with open_source(folder, file) as source, new_file(path) as target:
        return copier.copy(source, target, Span(0, 0, file.size))


def made_of(source: int, tensor: NewTensor) -> bytes:
    """Return the bytes of ``tensor``, from the open source."""

    def read(begin: int, length: int) -> bytes:
        return read_exactly(source, tensor.source_at + begin, length)

    return make_bytes(tensor.stored, tensor.piece, read)


def read_exactly(handle: int, at: int, length: int) -> bytes:
    """Return ``length`` bytes from ``at``."""
    data = os.pread(handle, length, at)
    if len(data) == length:
        return data
    parts = bytearray(data)
    while more := os.pread(handle, length - len(parts), at + len(parts)):
        parts += more
    if len(parts) < length:
        raise CheckpointError(
            f"A file ends {length - len(parts):,} bytes before its header says.",
            fix="It was changed meanwhile; let nothing write there, and run this "
            "again.",
        )
    return bytes(parts)


def _check_unchanged(handle: int, file: SourceFile) -> None:
    now = os.fstat(handle)
    if (now.st_size, now.st_mtime_ns) != (file.size, file.modified):
        raise CheckpointError(
            f"`{file.name}` was changed while it was repaired.",
            evidence=(f"it had {file.size:,} bytes, and has {now.st_size:,}",),
            fix="Let nothing write to the checkpoint, and run this again.",
        )
