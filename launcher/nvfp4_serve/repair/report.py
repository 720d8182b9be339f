"""What a repair does, as plain data: for people, for `--json`, and for the result."""

from collections.abc import Iterator, Mapping
from typing import Any

from nvfp4_serve import __version__
from nvfp4_serve.repair.space import space_of
from nvfp4_serve.repair.types import NewShard, Repair

#: Renames that are shown of each shard.
_EXAMPLES = 3


def report(repair: Repair) -> dict[str, Any]:
    """Return what ``repair`` does; the same for the same source and version.

    The digests of the source are those of its headers: a full one would have to read
    all of it once more.
    """
    source = repair.source
    changed = {n for n, text in repair.texts.items() if text != source.texts[n]}
    return {
        "nvfp4_serve": __version__,
        "fingerprint": repair.fingerprint,
        "source": {
            "model": source.model,
            "folder": str(source.folder),
            "revision": source.revision,
            "shards": {
                shard.file.name: {
                    "bytes": shard.file.size,
                    "header_sha256": shard.digest,
                }
                for shard in source.shards
            },
        },
        "kinds": list(repair.kinds),
        "tensors": _total(repair),
        "shards": {shard.file.name: _shard(shard) for shard in repair.shards},
        "config_changes": list(repair.changes),
        "copied": sorted(
            (*(f.name for f in repair.copies), *(repair.texts.keys() - changed))
        ),
        "written": sorted(changed),
        "dropped": list(repair.dropped),
        "left_out": list(source.left_out),
        "bytes": _bytes(repair),
    }


def renames(shard: NewShard) -> Iterator[tuple[str, str]]:
    """Yield the name of each stored tensor that changes, and what comes of it."""
    for tensor in shard.tensors:
        if tensor.name != tensor.piece.name:
            yield tensor.name, tensor.piece.name


def _shard(shard: NewShard) -> dict[str, Any]:
    examples = [f"{old} -> {new}" for old, new in renames(shard)]
    return {
        "bytes": shard.size,
        **_counts((shard,)),
        "examples": examples[:_EXAMPLES],
    }


def _total(repair: Repair) -> Mapping[str, int]:
    changed = {shard.file.name for shard in repair.shards}
    untouched = sum(
        len(shard.header)
        for shard in repair.source.shards
        if shard.file.name not in changed
    )
    counts = _counts(repair.shards)
    return {**counts, "kept": counts["kept"] + untouched}


def _counts(shards: tuple[NewShard, ...]) -> dict[str, int]:
    """Return how many tensors are kept and have a new name, and how many are gone."""
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    renamed = sum(tensor.name != tensor.piece.name for tensor in tensors)
    return {
        "kept": len(tensors) - renamed,
        "new_names": renamed,
        "dropped": sum(len(shard.dropped) for shard in shards),
    }


def _bytes(repair: Repair) -> dict[str, int]:
    space = space_of(repair)
    return {
        "written_anew": space.anew,
        "copied": space.copied,
        "shareable": space.shareable,
    }
