"""Every file of the checkpoint that is repaired. Reads headers and small files."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.checkpoint.header import PREFIX_BYTES, parse_header
from nvfp4_serve.checkpoint.index import INDEX_FILE, choose_shards, parse_index
from nvfp4_serve.checkpoint.smallfile import CONFIG_LIMIT, INDEX_LIMIT
from nvfp4_serve.checkpoint.types import Checkpoint, RawHeader
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.repair.types import (
    CONFIG,
    LEGACY,
    RECORD,
    Source,
    SourceFile,
    StoredShard,
)

#: What tools keep in a folder for themselves: git, and huggingface_hub.
_NO_PART: Final = (".git", ".cache")
_SMALL: Final = {
    CONFIG: CONFIG_LIMIT,
    LEGACY: CONFIG_LIMIT,
    INDEX_FILE: INDEX_LIMIT,
}


class _Metadata(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def read_source(checkpoint: Checkpoint) -> Source:
    """Return every file of ``checkpoint``, which is in a local folder.

    Raises:
        CheckpointError: It is not downloaded, or a file of it cannot be read.
    """
    if checkpoint.folder is None:
        raise CheckpointError(
            f"`{checkpoint.model}` is not on this machine.",
            fix=f"Download it with `hf download {checkpoint.model} --revision "
            f"{checkpoint.revision}`, and run this again.",
        )
    path = Path(checkpoint.folder).resolve()
    folder = Folder(path, shown=checkpoint.model)
    names = folder.names()
    texts = {
        name: folder.read_small(name, limit=limit)
        for name, limit in _SMALL.items()
        if name in names
    }
    index = parse_index(texts[INDEX_FILE], names) if INDEX_FILE in texts else None
    shards = choose_shards(names, index)
    return Source(
        model=checkpoint.model,
        folder=path,
        revision=checkpoint.revision,
        shards=tuple(_shards(folder, shards)),
        others=tuple(_others(folder, path, frozenset({*shards, RECORD}))),
        left_out=tuple(name for name in _NO_PART if name in names),
        texts=texts,
    )


def describe_file(folder: Folder, name: str) -> SourceFile:
    """Return what tells whether the file ``name`` is still the same."""
    with folder.open_file(name) as file:
        found = os.fstat(file.fileno())
    return SourceFile(name, found.st_size, found.st_mtime_ns)


def _shards(folder: Folder, names: tuple[str, ...]) -> Iterator[StoredShard]:
    scratch = bytearray()
    for found in folder.read_headers(names):
        if isinstance(found, CheckpointError):
            raise found
        yield StoredShard(
            file=describe_file(folder, found.shard),
            header=parse_header(found.raw, label=found.shard, scratch=scratch),
            metadata=_metadata(found),
            data_at=PREFIX_BYTES + len(found.raw),
            digest=hashlib.sha256(found.raw).hexdigest(),
        )


def _metadata(found: RawHeader) -> Mapping[str, str]:
    return msgspec.json.decode(found.raw, type=_Metadata).metadata


def _others(folder: Folder, root: Path, known: frozenset[str]) -> Iterator[SourceFile]:
    """Yield every other file, those of subfolders too; links become what they name."""
    for name in sorted(_names(root, (), known)):
        yield describe_file(folder, name)


def _names(root: Path, parts: tuple[str, ...], known: frozenset[str]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(root.joinpath(*parts)), key=lambda e: e.name)
    except OSError as error:
        raise CheckpointError(
            f"The folder `{root.joinpath(*parts)}` cannot be read: {error.strerror}.",
            fix="Check who may read it.",
        ) from error
    for entry in entries:
        name = "/".join((*parts, entry.name))
        if name in known or (not parts and entry.name in _NO_PART):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _names(root, (*parts, entry.name), known)
        elif entry.is_dir():
            raise CheckpointError(
                f"`{name}` is a link to a folder.",
                evidence=(f"it leads to {os.path.realpath(entry.path)}",),
                fix="Put the folder itself there, or remove the link.",
            )
        else:
            yield name
