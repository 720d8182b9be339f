"""What a repair is. Values only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from nvfp4_layouts.types import Piece, Stored

from nvfp4_serve.checkpoint.header import Header

#: What the repaired folder says of itself; while it is made, the note of progress.
RECORD: Final = "nvfp4-serve-repair.json"
CONFIG: Final = "config.json"
LEGACY: Final = "hf_quant_config.json"

#: Takes one line for the person who waits.
Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a stored file that become bytes of a new one, one for one."""

    source_at: int
    target_at: int
    length: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the checkpoint that is repaired.

    Attributes:
        name: Below the folder, with ``/``.
        modified: Nanoseconds; that and the size tell whether it was changed.
    """

    name: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class StoredShard:
    """A shard as its header describes it.

    Attributes:
        data_at: Where the bytes of the tensors begin in the file.
        digest: SHA-256 of the header.
    """

    file: SourceFile
    header: Header
    metadata: Mapping[str, str]
    data_at: int
    digest: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is repaired.

    Attributes:
        model: As the user gave it.
        folder: Where it is.
        others: Every file that is no shard.
        left_out: Folders that are no part of a checkpoint, such as ``.git``.
        texts: The content of config.json, hf_quant_config.json and the index, as far
            as they are there.
    """

    model: str
    folder: Path
    revision: str | None
    shards: tuple[StoredShard, ...]
    others: tuple[SourceFile, ...]
    left_out: tuple[str, ...]
    texts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class NewTensor:
    """One tensor of a new shard, and what it is made of.

    Attributes:
        name: The stored tensor's.
        source_at: Where that one begins in its file.
        target_at: Where the new one begins behind the head of its file.
    """

    name: str
    source_at: int
    stored: Stored
    piece: Piece
    target_at: int


@dataclass(frozen=True, slots=True)
class NewShard:
    """A shard whose header changes.

    Attributes:
        file: The stored one.
        head: The length and the header, padded: all before the first tensor.
        size: Of the whole new file.
        tensors: In the order of their places.
        dropped: Stored tensors of which nothing comes.
    """

    file: SourceFile
    head: bytes
    size: int
    tensors: tuple[NewTensor, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """All that is to be done.

    Attributes:
        kinds: The kinds of ``nvfp4_layouts.rewrite``, sorted.
        changes: What the config says otherwise; a sentence each.
        shards: Those with a new header.
        copies: What is copied as it is.
        texts: Name to content of what is written anew.
        dropped: Files of the source that have no place in the result.
        fingerprint: Digest of the source and of all that is to be done.
    """

    source: Source
    kinds: tuple[str, ...]
    changes: tuple[str, ...]
    shards: tuple[NewShard, ...]
    copies: tuple[SourceFile, ...]
    texts: Mapping[str, bytes]
    dropped: tuple[str, ...]
    fingerprint: str

    def names(self) -> frozenset[str]:
        """Return the name of every file of the result but the record."""
        files = (*(shard.file for shard in self.shards), *self.copies)
        return frozenset(file.name for file in files) | self.texts.keys()
