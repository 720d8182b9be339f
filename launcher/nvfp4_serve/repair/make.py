"""Source and Layout -> Repair: all that is to be done, and nothing done yet. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Piece, RewriteError, Stored

from nvfp4_serve import __version__
from nvfp4_serve.checkpoint.index import INDEX_FILE
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import CheckpointError, UsageError
from nvfp4_serve.finding import Severity
from nvfp4_serve.repair.config import new_config, new_index, new_legacy
from nvfp4_serve.repair.shards import make_shard
from nvfp4_serve.repair.types import (
    CONFIG,
    LEGACY,
    NewShard,
    Repair,
    Source,
    SourceFile,
    StoredShard,
)

_NOTHING: Final[Mapping[str, tuple[Piece, ...]]] = {}


def make_repair(source: Source, layout: Layout) -> Repair:
    """Return what is to be done to ``source``.

    Raises:
        CheckpointError: It cannot be repaired; with the words of what was found.
        UsageError: There is nothing to repair.
    """
    kinds, pieces = _rewrite(source, layout.architecture)
    check_need(layout, kinds)
    shards = tuple(
        new for shard in source.shards if (new := make_shard(shard, pieces)) is not None
    )
    texts, dropped = _texts(source, layout, shards)
    repair = Repair(
        source=source,
        kinds=kinds,
        changes=layout.overlay.changes if layout.overlay else (),
        shards=shards,
        copies=tuple(_copies(source, shards, {*texts, *dropped})),
        texts=texts,
        dropped=dropped,
        fingerprint="",
    )
    return replace(repair, fingerprint=_fingerprint(repair))


def check_need(layout: Layout, kinds: tuple[str, ...]) -> None:
    """Raise unless a repair would make ``layout`` right, and it is not so already.

    Args:
        layout: What was read from the headers.
        kinds: What has to be rewritten.

    Raises:
        CheckpointError: It cannot be repaired; with the words of what was found.
        UsageError: There is nothing to repair.
    """
    errors = [f for f in layout.findings if f.severity is Severity.ERROR]
    if errors:
        raise CheckpointError(
            f"`{layout.model}` cannot be repaired.",
            evidence=tuple(f"{f.id}: {f.message}" for f in errors),
            fix=" ".join(dict.fromkeys(f.fix for f in errors)),
        )
    if not kinds and layout.overlay is None:
        raise UsageError(
            f"There is nothing to repair in `{layout.model}`.",
            evidence=(f"its layout is {layout.layout}, and its config says so",),
            fix=f"Serve it as it is: `nvfp4-serve {layout.model}`.",
        )


def stored_tensors(shards: Iterable[StoredShard]) -> dict[str, Stored]:
    """Return every tensor of every shard."""
    return {
        name: Stored(entry.dtype, entry.shape)
        for shard in shards
        for name, entry in shard.header.items()
    }


def _rewrite(
    source: Source, architecture: str | None
) -> tuple[tuple[str, ...], Mapping[str, tuple[Piece, ...]]]:
    try:
        rewrite = make_rewrite(stored_tensors(source.shards), architecture)
    except RewriteError as error:
        raise CheckpointError(
            f"`{source.model}` cannot be repaired. {error.problem}",
            evidence=error.evidence,
            fix=error.fix,
        ) from error
    if rewrite is None:
        return (), _NOTHING
    return tuple(sorted(rewrite.kinds)), rewrite.pieces


def _texts(
    source: Source, layout: Layout, shards: tuple[NewShard, ...]
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the texts of the result, and the files that have to go.

    config.json is always among the texts: it is written last, and a folder without one
    is no checkpoint.
    """
    texts = {CONFIG: source.texts[CONFIG]}
    dropped: tuple[str, ...] = ()
    if layout.overlay is not None:
        texts[CONFIG] = new_config(source.texts[CONFIG], layout.overlay)
        if LEGACY in source.texts:
            legacy = new_legacy(source.texts[LEGACY], layout.overlay)
            if legacy is None:
                dropped = (LEGACY,)
            else:
                texts[LEGACY] = legacy
    if INDEX_FILE in source.texts and shards:
        weight_map, total = _index(source, shards)
        texts[INDEX_FILE] = new_index(source.texts[INDEX_FILE], weight_map, total)
    return texts, dropped


def _index(source: Source, shards: tuple[NewShard, ...]) -> tuple[dict[str, str], int]:
    changed = {shard.file.name: shard for shard in shards}
    weight_map: dict[str, str] = {}
    total = 0
    for shard in source.shards:
        name = shard.file.name
        new = changed.get(name)
        if new is None:
            weight_map |= dict.fromkeys(shard.header, name)
            total += shard.file.size - shard.data_at
        else:
            weight_map |= {tensor.piece.name: name for tensor in new.tensors}
            total += new.size - len(new.head)
    return weight_map, total


def _copies(
    source: Source, shards: tuple[NewShard, ...], done: set[str]
) -> Iterator[SourceFile]:
    changed = {shard.file.name for shard in shards} | done
    for file in (*(shard.file for shard in source.shards), *source.others):
        if file.name not in changed:
            yield file


def _fingerprint(repair: Repair) -> str:
    """Return the digest of the source as it is now, and of all that is to be done."""
    source = repair.source
    files = (*(shard.file for shard in source.shards), *source.others)
    said = {
        "version": __version__,
        "files": [(file.name, file.size, file.modified) for file in files],
        "headers": [shard.digest for shard in source.shards],
        "new": [_digest(shard.head) for shard in repair.shards],
        "pieces": [_digest(_pieces_text(shard)) for shard in repair.shards],
        "texts": {name: _digest(data) for name, data in repair.texts.items()},
        "dropped": repair.dropped,
    }
    return _digest(json.dumps(said, sort_keys=True).encode())


def _pieces_text(shard: NewShard) -> bytes:
    """Return what each tensor is made of; its name and place are in the head."""
    lines = (
        f"{t.name} {t.piece.expert} {t.piece.transpose} {t.piece.rows} "
        f"{t.piece.divisor}"
        for t in shard.tensors
    )
    return "\n".join(lines).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
