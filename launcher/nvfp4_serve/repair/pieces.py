"""The bytes of a piece, from the bytes of the tensor that it comes of. Pure.

Most pieces lie in the stored file as they are: those are only told where
(``range_of``), so that the kernel can copy or share them. The others are made here:
transposed matrices, and scales of another type or value.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from nvfp4_layouts.types import Piece, Stored

from nvfp4_serve.checkpoint.nvfp4 import DTYPE_BITS, tensor_bytes

#: Gives bytes of the stored tensor: from where, and how many.
Read: TypeAlias = Callable[[int, int], bytes]

#: Columns that are transposed at a time: what is written then stays in the
#: processor's cache.
_TILE: Final = 64


def range_of(stored: Stored, piece: Piece) -> tuple[int, int] | None:
    """Return where the bytes of ``piece`` begin in ``stored``, and how many they are.

    None: they are not there as they are, and ``make_bytes`` makes them.
    """
    if piece.transpose or piece.divisor is not None or piece.dtype != stored.dtype:
        return None
    begin, length, shape = _expert(stored, piece)
    if piece.rows is not None:
        row = length // shape[0]
        first, last = piece.rows
        begin, length = begin + first * row, (last - first) * row
    return begin, length


def make_bytes(stored: Stored, piece: Piece, read: Read) -> bytes:
    """Return the bytes of ``piece``; holds one matrix of one expert at most twice."""
    found = range_of(stored, piece)
    if found is not None:
        return read(*found)
    begin, length, shape = _expert(stored, piece)
    data = read(begin, length)
    if piece.transpose:
        height, width = shape
        first, last = piece.rows or (0, width)
        data = _transposed(data, height, width, (first, last), item_bytes(stored.dtype))
    elif piece.rows is not None:
        row = length // shape[0]
        data = data[piece.rows[0] * row : piece.rows[1] * row]
    if piece.divisor is not None or piece.dtype != stored.dtype:
        data = _divided(data, stored.dtype, piece)
    if len(data) != tensor_bytes(piece.dtype, piece.shape):
        raise ValueError(f"{piece} has not the size of what is made of {stored}")
    return data


def item_bytes(dtype: str) -> int:
    """Return the bytes of one element; 1 where several share a byte."""
    return max(DTYPE_BITS[dtype] // 8, 1)


def _expert(stored: Stored, piece: Piece) -> tuple[int, int, tuple[int, ...]]:
    """Return where the expert begins, its bytes, and its shape."""
    whole = tensor_bytes(stored.dtype, stored.shape)
    if whole is None:
        raise ValueError(f"{stored} is no whole number of bytes")
    if piece.expert is None:
        return 0, whole, stored.shape
    each = whole // stored.shape[0]
    return piece.expert * each, each, stored.shape[1:]


def _transposed(
    data: bytes, height: int, width: int, columns: tuple[int, int], item: int
) -> bytes:
    """Return columns of a ``height`` x ``width`` matrix, as rows."""
    if item > 1:
        # Scales that are stored as matrices; there are few.
        places = (row * width + c for c in range(*columns) for row in range(height))
        return b"".join(data[at * item : (at + 1) * item] for at in places)
    made = bytearray()
    view = memoryview(data)
    for begin in range(columns[0], columns[1], _TILE):
        end = min(begin + _TILE, columns[1])
        tile = bytearray(height * (end - begin))
        for row in range(height):
            tile[row::height] = view[row * width + begin : row * width + end]
        made += tile
    return bytes(made)


def _divided(data: bytes, dtype: str, piece: Piece) -> bytes:
    """Return values as float32, divided in float32.

    Python divides in double precision, and packing rounds to float32. For operands
    that are float32 themselves this is the float32 division: 53 bits are more than
    twice 24 bits and two (Figueroa, "When is double rounding innocuous?", 1995).
    """
    if piece.dtype != "F32":
        raise ValueError(f"{piece} is not made of {dtype}")
    values = _values(data, dtype)
    if piece.divisor is not None:
        values = (value / piece.divisor for value in values)
    made = tuple(values)
    return struct.pack(f"<{len(made)}f", *made)


def _values(data: bytes, dtype: str) -> Iterable[float]:
    if dtype == "F32":
        return struct.unpack(f"<{len(data) // 4}f", data)
    if dtype == "F16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    if dtype == "BF16":
        # A bfloat16 is the upper half of a float32.
        halves = (b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
        return struct.unpack(f"<{len(data) // 2}f", b"".join(halves))
    raise ValueError(f"{dtype} is not read as float32")
