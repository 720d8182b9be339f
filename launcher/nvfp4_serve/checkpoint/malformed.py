"""What exactly is wrong with a header. Slow, and run only on what is refused anyway.

Everything here explains one text or one table of tensors in full: all its faults
together. Pure; takes bytes and values.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from nvfp4_serve.checkpoint.nvfp4 import DTYPE_BITS, tensor_bytes
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.units import format_bytes

_AGAIN: Final = "Download the file again, or export the checkpoint again."
#: Faults of one header that are shown; the rest is counted.
_SHOWN: Final = 8

#: What a file is that begins like this, and what to do.
_OTHER_FORMATS: Final = (
    (b"version ", "is a git-lfs pointer, not the file", "Run `git lfs pull` there."),
    (b"PK\x03\x04", "is a zip archive, probably a PyTorch .bin",
     "Convert the checkpoint to safetensors."),
    (b"GGUF", "is a GGUF file", "Use a safetensors checkpoint."),
    (b"<", "looks like a web page", "Download the file again, with a token if needed."),
)  # fmt: skip


class StoredEntry(Protocol):
    """One tensor of a header."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def data_offsets(self) -> tuple[int, int]: ...


def explain_prefix(
    prefix: bytes, *, label: str, limit: int, size: int
) -> CheckpointError:
    """Return the error for a file whose first 8 bytes declare no possible header."""
    for start, what, fix in _OTHER_FORMATS:
        if prefix.startswith(start):
            return CheckpointError(f"`{label}` {what}.", fix=fix)
    length = int.from_bytes(prefix, "little")
    if 2 <= length <= limit:
        return CheckpointError(
            f"`{label}` declares a header of {length:,} bytes, and the whole file has "
            f"{size:,}.",
            fix="Download the file again; it is truncated.",
        )
    return CheckpointError(
        f"`{label}` declares a header of {length} bytes; the format allows 2 to "
        f"{limit}.",
        fix="Check that this is a safetensors file, and download it again.",
    )


def parse_strictly(raw: bytes, *, label: str) -> dict[str, dict[str, object]]:
    """Return the entries of a header without ``__metadata__``, every one checked.

    Raises:
        CheckpointError: Names every fault.
    """
    repeated: list[str] = []

    def keep_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated.extend(name for name, count in counts.items() if count > 1)
        return fields

    try:
        content = json.loads(raw, object_pairs_hook=keep_pairs)
    except RecursionError:
        raise CheckpointError(
            f"The header of `{label}` is nested too deep.", fix=_AGAIN
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"The header of `{label}` is not JSON.", evidence=(str(error),), fix=_AGAIN
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"The header of `{label}` is a {type(content).__name__}, not an object.",
            fix=_AGAIN,
        )
    faults = [f"the key {name!r} stands there twice" for name in repeated]
    faults += _metadata_faults(content.pop("__metadata__", {}))
    faults += [fault for item in content.items() for fault in _entry_faults(*item)]
    raise_faults(faults, problem=f"The header of `{label}` is not valid", fix=_AGAIN)
    return content


def check_body(header: Mapping[str, StoredEntry], *, label: str, body: int) -> None:
    """Raise unless the tensors of ``header`` fill ``body`` bytes without a hole."""
    raise_faults(
        [*_size_faults(header), *_gap_faults(header, body)],
        problem=f"The header of `{label}` does not fit its "
        f"{format_bytes(body)} of tensors",
        fix=_AGAIN,
    )


def raise_faults(faults: list[str], *, problem: str, fix: str) -> None:
    """Raise one error that names every fault; do nothing where there is none."""
    if len(faults) == 1:
        raise CheckpointError(f"{problem}: {faults[0]}.", fix=fix)
    if faults:
        raise CheckpointError(
            f"{problem}: {len(faults)} faults.", evidence=shown(faults), fix=fix
        )


def shown(lines: Iterable[str], *, limit: int = _SHOWN) -> tuple[str, ...]:
    """Return the first lines, and a line that counts the others."""
    every = tuple(lines)
    if len(every) <= limit:
        return every
    return (*every[:limit], f"and {len(every) - limit:,} more")


def _metadata_faults(metadata: object) -> Iterator[str]:
    if not isinstance(metadata, dict):
        yield "`__metadata__` is not an object"
    elif not all(isinstance(value, str) for value in metadata.values()):
        yield "`__metadata__` holds something that is not text"


def _entry_faults(name: str, entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"tensor {name!r} is not an object"
        return
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        yield f"tensor {name!r} has the dtype {dtype!r}, which the format does not know"
    if not _naturals(entry.get("shape")):
        yield f"tensor {name!r} has the shape {entry.get('shape')!r}"
    offsets = entry.get("data_offsets")
    if not _naturals(offsets) or len(offsets) != 2:  # type: ignore[arg-type]
        yield f"tensor {name!r} has the offsets {offsets!r}"


def _naturals(value: object) -> bool:
    """Return whether it is a list of integers that fit 64 bits, none negative."""
    return isinstance(value, list) and all(
        type(side) is int and 0 <= side < 1 << 63 for side in value
    )


def _size_faults(header: Mapping[str, StoredEntry]) -> Iterator[str]:
    for name, entry in header.items():
        begin, end = entry.data_offsets
        wanted = tensor_bytes(entry.dtype, entry.shape)
        if wanted != end - begin:
            yield (
                f"tensor {name!r} ({entry.dtype} {list(entry.shape)}) needs "
                f"{wanted} bytes and has {end - begin}"
            )


def _gap_faults(header: Mapping[str, StoredEntry], body: int) -> Iterator[str]:
    spans = sorted((*entry.data_offsets, name) for name, entry in header.items())
    cursor, before = 0, ""
    for begin, end, name in spans:
        if begin < cursor:
            yield f"tensor {name!r} begins at {begin}, inside of {before!r}"
        elif begin > cursor:
            yield f"there are {begin - cursor} bytes of no tensor before {name!r}"
        cursor, before = max(cursor, end), name
    if cursor > body:
        yield f"the tensors end at {cursor} and the file's at {body}"
    elif cursor < body:
        yield f"there are {body - cursor} bytes of no tensor at the end"
