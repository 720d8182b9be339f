"""The result, held against what the rewrite says of the source; byte for byte.

The new files are read by their own headers, from the disk and not from memory; nothing
is taken from what was planned for writing but which tensor comes of which.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.checkpoint.header import Header, parse_header
from nvfp4_serve.checkpoint.malformed import check_body
from nvfp4_serve.checkpoint.types import RawHeader
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.repair.pieces import range_of
from nvfp4_serve.repair.types import NewShard, NewTensor, SourceFile, Span
from nvfp4_serve.repair.write import made_of, open_source, read_exactly

_AT_ONCE: Final = 1 << 20


def shard_faults(folder: Folder, shard: NewShard, result: Path) -> Iterator[str]:
    """Yield what is wrong with the new shard below ``result``; nothing, if it is right.

    Args:
        folder: The source.
        shard: What was to be done.
        result: The folder that holds the new file.
    """
    name = shard.file.name
    (found,) = Folder(result).read_headers([name])
    if isinstance(found, CheckpointError):
        yield found.problem
        return
    try:
        header = _header(found)
    except CheckpointError as error:
        yield error.problem
        return
    if header.keys() != {tensor.piece.name for tensor in shard.tensors}:
        yield f"`{name}` holds other tensors than it should"
        return
    begin = 8 + len(found.raw)
    with open_source(folder, shard.file) as source, _opened(result / name) as target:
        for tensor in shard.tensors:
            if not _is_right(source, target, tensor, header, begin):
                yield f"tensor `{tensor.piece.name}` in `{name}`"


def copy_faults(folder: Folder, file: SourceFile, result: Path) -> Iterator[str]:
    """Yield the name of a copy that is not the file of the source."""
    try:
        with open_source(folder, file) as source, _opened(result / file.name) as target:
            same = os.fstat(target).st_size == file.size
            if not same or not _is_same(source, target, Span(0, 0, file.size)):
                yield f"`{file.name}`"
    except FileNotFoundError:
        yield f"`{file.name}` is not there"


class _opened:  # noqa: N801 - a context manager, used like a function
    """A file of the result, read from the disk as far as the kernel lets us."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        # It is on the disk already; what memory holds of it is let go.
        os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)
        return self._handle

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def _header(found: RawHeader) -> Header:
    header = parse_header(found.raw, label=found.shard, scratch=bytearray())
    check_body(header, label=found.shard, body=found.body)
    return header


def _is_right(
    source: int, target: int, tensor: NewTensor, header: Header, begin: int
) -> bool:
    piece, entry = tensor.piece, header[tensor.piece.name]
    if (entry.dtype, entry.shape) != (piece.dtype, piece.shape):
        return False
    first, last = entry.data_offsets
    found = range_of(tensor.stored, piece)
    if found is None:
        return made_of(source, tensor) == read_exactly(
            target, begin + first, last - first
        )
    if found[1] != last - first:
        return False
    return _is_same(
        source, target, Span(tensor.source_at + found[0], begin + first, found[1])
    )


def _is_same(source: int, target: int, span: Span) -> bool:
    for done in range(0, span.length, _AT_ONCE):
        count = min(_AT_ONCE, span.length - done)
        ours = read_exactly(source, span.source_at + done, count)
        if ours != read_exactly(target, span.target_at + done, count):
            return False
    return True
