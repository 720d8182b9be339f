"""A stored shard and what becomes of its tensors -> the new shard. Pure.

The order of the bytes stays the stored one wherever types allow it, and the header is
padded with spaces (which the format allows) so that the largest run of bytes keeps its
place within the blocks of a file system. Such a run can be shared and not copied.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from nvfp4_layouts.types import Piece, Stored

from nvfp4_serve.checkpoint.nvfp4 import tensor_bytes
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.repair.pieces import item_bytes, range_of
from nvfp4_serve.repair.types import NewShard, NewTensor, Span, StoredShard

#: The block of ext4, xfs and btrfs on most machines. Where blocks are larger, fewer
#: bytes are shared, and all are right.
BLOCK: Final = 4096
#: The data begins at a multiple of this: the widest element. Source: safetensors 0.7,
#: ``tensor.rs``, ``prepare``.
_ALIGNMENT: Final = 8
_PREFIX: Final = 8
#: safetensors README, "Format".
_MOST_HEADER: Final = 100_000_000


def make_shard(
    shard: StoredShard, pieces: Mapping[str, tuple[Piece, ...]]
) -> NewShard | None:
    """Return the new shard; None where it stays what it is.

    Raises:
        CheckpointError: Its header would be larger than the format allows.
    """
    if pieces.keys().isdisjoint(shard.header):
        return None
    tensors = [tensor for _, tensor in sorted(_tensors(shard, pieces), key=_order)]
    placed, size = _placed(tensors)
    if any(t.target_at % item_bytes(t.piece.dtype) for t in placed):
        # Wide types first, as safetensors itself orders them; each is a multiple of
        # its own width, so none of those behind it is out of place.
        tensors.sort(key=lambda tensor: -item_bytes(tensor.piece.dtype))
        placed, size = _placed(tensors)
    text = _header(placed, shard.metadata)
    text += b" " * ((_phase(placed) - _PREFIX - len(text)) % BLOCK)
    if len(text) > _MOST_HEADER:
        raise CheckpointError(
            f"The header of `{shard.file.name}` would have {len(text):,} bytes, and "
            f"the format allows {_MOST_HEADER:,}.",
            fix="Export the checkpoint again, in smaller shards.",
        )
    return NewShard(
        file=shard.file,
        head=len(text).to_bytes(_PREFIX, "little") + text,
        size=_PREFIX + len(text) + size,
        tensors=tuple(placed),
        dropped=tuple(name for name in shard.header if pieces.get(name) == ()),
    )


def steps_of(shard: NewShard) -> Iterator[Span | NewTensor]:
    """Yield what is to be written behind the head, in the order of its places.

    Bytes that are copied as they are, those that hang together as one; and tensors
    that have to be made.
    """
    return _steps(shard.tensors, len(shard.head))


def _steps(tensors: Iterable[NewTensor], begin: int) -> Iterator[Span | NewTensor]:
    source_at = target_at = length = 0
    for tensor in tensors:
        found = range_of(tensor.stored, tensor.piece)
        at = tensor.source_at + (found[0] if found is not None else 0)
        if found is not None and length and at == source_at + length:
            length += found[1]
            continue
        if length:
            yield Span(source_at, target_at, length)
            length = 0
        if found is None:
            yield tensor
        else:
            source_at, length = at, found[1]
            target_at = begin + tensor.target_at
    if length:
        yield Span(source_at, target_at, length)


def shared_part(span: Span) -> Span | None:
    """Return the whole blocks of ``span``, where source and target agree on them."""
    if (span.source_at - span.target_at) % BLOCK:
        return None
    skipped = -span.source_at % BLOCK
    length = (span.length - skipped) // BLOCK * BLOCK
    if length <= 0:
        return None
    return Span(span.source_at + skipped, span.target_at + skipped, length)


def _tensors(
    shard: StoredShard, pieces: Mapping[str, tuple[Piece, ...]]
) -> Iterator[tuple[tuple[int, int], NewTensor]]:
    """Yield every new tensor, not yet placed, and where its bytes are stored."""
    for name, entry in shard.header.items():
        stored = Stored(entry.dtype, entry.shape)
        at = shard.data_at + entry.data_offsets[0]
        for piece in pieces.get(name, (Piece(name, entry.dtype, entry.shape),)):
            begin, _ = range_of(stored, piece) or (0, 0)
            yield (at, begin), NewTensor(name, at, stored, piece, 0)


def _order(found: tuple[tuple[int, int], NewTensor]) -> tuple[int, int]:
    return found[0]


def _placed(tensors: list[NewTensor]) -> tuple[list[NewTensor], int]:
    """Return the tensors one behind the other, and what they take."""
    at = 0
    placed = []
    for t in tensors:
        placed.append(NewTensor(t.name, t.source_at, t.stored, t.piece, at))
        at += _size(t.piece)
    return placed, at


def _size(piece: Piece) -> int:
    size = tensor_bytes(piece.dtype, piece.shape)
    if size is None:
        raise ValueError(f"{piece} is no whole number of bytes")
    return size


def _header(tensors: list[NewTensor], metadata: Mapping[str, str]) -> bytes:
    """Return the header, where the first tensor is at 0."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for tensor in tensors:
        piece = tensor.piece
        entries[piece.name] = {
            "dtype": piece.dtype,
            "shape": piece.shape,
            "data_offsets": (tensor.target_at, tensor.target_at + _size(piece)),
        }
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()


def _phase(tensors: list[NewTensor]) -> int:
    """Return where in a block the data should begin, so that most can be shared."""
    votes: defaultdict[int, int] = defaultdict(int)
    for step in _steps(tensors, 0):
        if isinstance(step, Span):
            phase = (step.source_at - step.target_at) % BLOCK
            if phase % _ALIGNMENT == 0:
                votes[phase] += step.length
    return max(votes, key=lambda phase: (votes[phase], -phase), default=0)
