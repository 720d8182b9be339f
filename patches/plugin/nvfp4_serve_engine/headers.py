"""The headers of local safetensors files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nvfp4_layouts.types import Stored

#: The format's own limit: safetensors 0.7, ``tensor.rs``, ``MAX_HEADER_SIZE``.
_MOST_BYTES = 100_000_000


class HeaderError(ValueError):
    """A file that vLLM is about to load is no safetensors file."""


def read_headers(files: Iterable[str]) -> dict[str, Stored]:
    """Return every tensor of ``files``, as their headers describe it.

    Raises:
        HeaderError: One of them has no header that can be read.
    """
    tensors: dict[str, Stored] = {}
    # Many tensors are described alike; one description for all of them is quicker.
    alike: dict[tuple[str, tuple[int, ...]], Stored] = {}
    for file in files:
        try:
            header = _header(Path(file))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                key = (entry["dtype"], tuple(entry["shape"]))
                if key not in alike:
                    alike[key] = Stored(*key)
                tensors[name] = alike[key]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise HeaderError(
                f"{file} has no safetensors header.\n"
                "Fix: download the checkpoint again; this file is damaged."
            ) from error
    return tensors


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length) if length <= _MOST_BYTES else b""
    header: dict[str, Any] = json.loads(raw)
    return header
