"""The headers of safetensors files; no weight byte is read."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec  # vLLM needs it itself
from nvfp4_layouts.types import RewriteError, Stored

_LENGTH_BYTES: Final = 8


class _Entry(msgspec.Struct, gc=False):
    """What is read of an entry; the defaults are those of ``__metadata__``."""

    dtype: str | None = None
    shape: tuple[int, ...] | None = None


#: Three times as quick as ``json``, which counts at each start: see
#: ``benchmarks/adapter_overhead.py``.
_DECODER: Final = msgspec.json.Decoder(dict[str, _Entry])


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def files_of(folder: Path) -> list[str]:
    """Return the safetensors files of ``folder``; where it has an index, those in it.

    Raises:
        RewriteError: The index cannot be read.
    """
    found = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [str(file) for file in found]
    try:
        listed = msgspec.json.decode(index.read_bytes(), type=_Index).weight_map
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise RewriteError(
            f"The index {index} cannot be read.",
            evidence=(f"{type(error).__name__}: {error}",),
            fix="Download or export this file again.",
        ) from error
    named = set(listed.values())
    return [str(file) for file in found if file.name in named]


def read_headers(files: Iterable[str]) -> dict[str, Stored]:
    """Return every tensor of every file, as the headers describe it.

    Raises:
        RewriteError: A header cannot be read, or two files disagree about a tensor.
    """
    tensors: dict[str, Stored] = {}
    kinds: dict[tuple[str, tuple[int, ...]], Stored] = {}
    for file in files:
        try:
            with _no_collection():
                found = _tensors(Path(file), kinds)
        except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise RewriteError(
                f"The header of {file} cannot be read.",
                evidence=(f"{type(error).__name__}: {error}",),
                fix="Download or export this file again; it is no whole .safetensors "
                "file.",
            ) from error
        for name, stored in found.items():
            if tensors.setdefault(name, stored) is not stored:
                raise RewriteError(
                    f"`{name}` is stored in two files, and differs.",
                    evidence=(f"{file}: {stored}", f"another file: {tensors[name]}"),
                    fix="Keep the files of one export in the folder.",
                )
    return tensors


def _tensors(
    file: Path, kinds: dict[tuple[str, tuple[int, ...]], Stored]
) -> dict[str, Stored]:
    """Return the tensors of one file; equal ones share what is said of them.

    A checkpoint has hundreds of thousands of tensors, of a few dozen kinds.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        if length > size - _LENGTH_BYTES:
            raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
        entries = _entries(opened.read(length))
    entries.pop("__metadata__", None)
    tensors = {}
    for name, entry in entries.items():
        if entry.dtype is None or entry.shape is None:
            raise ValueError(f"`{name}` has no dtype or no shape")
        kind = entry.dtype, entry.shape
        stored = kinds.get(kind)
        if stored is None:
            stored = kinds[kind] = Stored(*kind)
        tensors[name] = stored
    return tensors


def _entries(raw: bytes) -> dict[str, _Entry]:
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        # ``__metadata__`` may have a ``shape`` of its own, which is text.
        plain = msgspec.json.decode(raw, type=dict[str, object])
        plain.pop("__metadata__", None)
        return msgspec.convert(plain, dict[str, _Entry])


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Hold the garbage collector back; a header makes many objects, and no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
