"""The header of a safetensors file. Takes bytes and open files; never a weight byte.

Format: 8 bytes of length, little-endian; a JSON object of that length; then the bytes
of the tensors, without holes. Source: safetensors README, "Format".
"""

import re
from collections.abc import Mapping
from typing import Annotated, BinaryIO, Final, Literal, TypeAlias

import msgspec

from nvfp4_serve.checkpoint.malformed import explain_prefix, parse_strictly
from nvfp4_serve.errors import CheckpointError

#: The length that stands in front of the header.
PREFIX_BYTES: Final = 8

# The format's own limit, so that a corrupt length cannot ask us for 2^63 bytes.
# safetensors README, "Format": the header is at most 100 MB.
_MAX_HEADER_BYTES: Final = 100_000_000

Dtype: TypeAlias = Literal[
    "BF16", "BOOL", "C64", "F16", "F32", "F4", "F64", "F6_E2M3", "F6_E3M2",
    "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0", "I16", "I32",
    "I64", "I8", "U16", "U32", "U64", "U8",
]  # fmt: skip
_Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Entry(msgspec.Struct, gc=False, frozen=True):
    """One tensor. ``gc=False``: it holds no cycle, and there may be 282,000 of them."""

    dtype: Dtype
    shape: tuple[_Natural, ...]
    data_offsets: tuple[_Natural, _Natural]


Header: TypeAlias = Mapping[str, Entry]

_ENTRIES: Final = msgspec.json.Decoder(dict[str, Entry])
_METADATA: Final = msgspec.json.Decoder(dict[str, str])
_METADATA_KEY: Final = "__metadata__"
#: ``__metadata__`` where every writer of the field puts it: in front.
_METADATA_FIRST: Final = re.compile(
    rb'\{\s*"__metadata__"\s*:\s*(\{[^{}]*\})\s*(?:,(?=\s*")|(?=\}))'
)
#: Colons of one entry: behind its name, and behind each of its three keys.
_COLONS: Final = 4
#: Quotes of one line of metadata.
_QUOTES: Final = 4


def read_header(file: BinaryIO, *, label: str, size: int) -> bytes:
    """Return the header of the open file ``file``, which is ``size`` bytes long.

    Reads the length and the header, and nothing behind them; ``file`` should be
    unbuffered, so that the operating system is asked for nothing more either.
    """
    length = header_length(_read_exactly(file, PREFIX_BYTES), label=label, size=size)
    header = _read_exactly(file, length)
    if len(header) < length:
        raise CheckpointError(
            f"`{label}` ends after {len(header):,} of {length:,} header bytes.",
            fix="Download the file again; it is truncated.",
        )
    return header


def header_length(prefix: bytes, *, label: str, size: int) -> int:
    """Return the length that ``prefix``, the first 8 bytes of a file, declares.

    Raises:
        CheckpointError: ``prefix`` is short, or the length is more than the format
            allows or the file has.
    """
    if len(prefix) < PREFIX_BYTES:
        raise CheckpointError(
            f"`{label}` is too short for a safetensors file: {size} bytes.",
            fix="Download the file again; it is truncated.",
        )
    length = int.from_bytes(prefix, "little")
    possible = len("{}") <= length <= _MAX_HEADER_BYTES
    if not possible or length > size - PREFIX_BYTES:
        raise explain_prefix(prefix, label=label, limit=_MAX_HEADER_BYTES, size=size)
    return length


def parse_header(raw: bytes, *, label: str, scratch: bytearray) -> Header:
    """Return the tensors that the header ``raw`` describes, in its order.

    Args:
        raw: JSON text.
        label: What to call the file in errors.
        scratch: Overwritten. One for all shards: half a megabyte of new memory for
            each would take longer than all else that is done here but decoding.

    Raises:
        CheckpointError: It is not JSON, not an object, has a key twice, or an entry
            has a field missing or of a wrong kind; all faults are named.
    """
    try:
        entries = _parse_plainly(raw, scratch)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        entries = None
    if entries is not None:
        return entries
    tensors = parse_strictly(raw, label=label)
    return msgspec.convert(tensors, dict[str, Entry])


def _parse_plainly(raw: bytes, scratch: bytearray) -> dict[str, Entry] | None:
    """Return the entries, or None where the fast way cannot vouch for them.

    A decoder keeps the last of two equal keys and says nothing. Every member of an
    object has a colon, and an entry has three members at least; so four colons an
    entry mean that nothing was dropped: neither a tensor nor a field.
    """
    text: bytes | bytearray = raw
    metadata = _METADATA_FIRST.match(raw)
    if metadata is not None:
        if not _is_plain_metadata(metadata[1]):
            return None
        scratch[:] = memoryview(raw)[metadata.end() - 1 :]
        scratch[0] = ord("{")
        text = scratch
    entries = _ENTRIES.decode(text)
    if text.count(b":") != _COLONS * len(entries) or _METADATA_KEY in entries:
        return None
    return entries


def _is_plain_metadata(raw: bytes) -> bool:
    """Return whether no key stands there twice; without a backslash quotes tell."""
    lines = _METADATA.decode(raw)
    return b"\\" not in raw and raw.count(b'"') == _QUOTES * len(lines)


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    """Return ``count`` bytes, or what there is before the end of the file."""
    data = file.read(count)
    if len(data) == count or not data:
        return data
    # An unbuffered file may give less than was asked for.
    parts = bytearray(data)
    while more := file.read(count - len(parts)):
        parts += more
    return bytes(parts)
