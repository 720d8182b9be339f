"""The headers of safetensors files. Standard library only; no weight byte is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from nvfp4_layouts.types import RewriteError, Stored

_LENGTH_BYTES: Final = 8


def read_headers(files: Iterable[str]) -> dict[str, Stored]:
    """Return every tensor of every file, as the headers describe it.

    Raises:
        RewriteError: A header cannot be read, or two files disagree about a tensor.
    """
    tensors: dict[str, Stored] = {}
    for file in files:
        try:
            found = _tensors(Path(file))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RewriteError(
                f"The header of {file} cannot be read.",
                evidence=(f"{type(error).__name__}: {error}",),
                fix="Download or export this file again; it is no whole .safetensors "
                "file.",
            ) from error
        for name, stored in found.items():
            if tensors.setdefault(name, stored) != stored:
                raise RewriteError(
                    f"`{name}` is stored in two files, and differs.",
                    evidence=(f"{file}: {stored}", f"another file: {tensors[name]}"),
                    fix="Keep the files of one export in the folder.",
                )
    return tensors


def _tensors(file: Path) -> dict[str, Stored]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        if length > size - _LENGTH_BYTES:
            raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
        entries = json.loads(opened.read(length))
    return {
        name: Stored(entry["dtype"], tuple(entry["shape"]))
        for name, entry in entries.items()
        if name != "__metadata__"
    }
