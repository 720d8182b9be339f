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
        for name, entry in _entries(file).items():
            if name == "__metadata__":
                continue
            stored = Stored(entry["dtype"], tuple(entry["shape"]))
            if tensors.setdefault(name, stored) != stored:
                raise RewriteError(
                    f"`{name}` is stored in two files, and differs.",
                    evidence=(f"{file}: {stored}", f"another file: {tensors[name]}"),
                    fix="Keep the files of one export in the folder.",
                )
    return tensors


def _entries(file: str) -> dict[str, dict[str, object]]:
    try:
        with Path(file).open("rb") as opened:
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            if length > Path(file).stat().st_size:
                raise ValueError(f"it declares a header of {length:,} bytes")
            entries = json.loads(opened.read(length))
        if not isinstance(entries, dict):
            raise TypeError("its header is no JSON object")
    except (OSError, ValueError, TypeError) as error:
        raise RewriteError(
            f"The header of {file} cannot be read.",
            evidence=(str(error),),
            fix="Download or export this file again; it is no whole safetensors file.",
        ) from error
    return entries
