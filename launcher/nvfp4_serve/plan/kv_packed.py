"""A KV cache whose blocks hold pages of several sizes side by side. Pure arithmetic.

vLLM 0.32.0, v1/core/kv_cache_utils.py, ``_get_packed_kv_cache_groups``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nvfp4_serve.checkpoint.shapes import KvKind, KvLayers
from nvfp4_serve.plan.kv_groups import CacheGroup


@dataclass(slots=True)
class _Bucket:
    """Layers that need the same number of blocks; by the bytes of their pages."""

    first: KvLayers
    pages: dict[int, list[int]] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        """How often the pattern of pages repeats; 0 where there is none."""
        counts = set(map(len, self.pages.values()))
        return counts.pop() if len(counts) == 1 else 0


def packed_groups(
    groups: Sequence[KvLayers], stage: range | None
) -> tuple[CacheGroup, ...] | None:
    """Return the tables of blocks; None where vLLM would choose in another way.

    Args:
        groups: Layers with a block and a page.
        stage: The layers that are held here; None for all.
    """
    buckets = _buckets(groups)
    mixed = [b.repeats for b in buckets if b.repeats and len(b.pages) > 1]
    if not mixed:
        return None
    repeats = [bucket.repeats for bucket in buckets if bucket.repeats]
    size = _least_padding(repeats, at_least=max(mixed))
    return tuple(table for bucket in buckets for table in _tables(bucket, size, stage))


def _buckets(groups: Sequence[KvLayers]) -> list[_Bucket]:
    buckets: dict[tuple[KvKind, int | None, int | None], _Bucket] = {}
    for group in groups:
        key = group.kind, group.block, group.window
        bucket = buckets.setdefault(key, _Bucket(group))
        bucket.pages.setdefault(group.page or 0, []).extend(group.layers)
    return list(buckets.values())


def _least_padding(values: Sequence[int], *, at_least: int) -> int:
    """Return the number to whose multiples ``values`` are rounded up with least."""

    def padding(step: int) -> int:
        return sum(-value % step for value in values)

    steps = range(at_least, max(values) + 1)
    # Of those that pad alike, the largest.
    return min(reversed(steps), key=padding, default=at_least)


def _tables(bucket: _Bucket, size: int, stage: range | None) -> list[CacheGroup]:
    """Split a bucket into tables of at most ``size`` repeats of its pattern."""
    count = -(-bucket.repeats // size) or 1
    tables = []
    for first in range(count):
        held = {page: names[first::count] for page, names in bucket.pages.items()}
        here = Counter(
            {
                page: sum(stage is None or n in stage for n in names)
                for page, names in held.items()
            }
        )
        size_here = sum(page * number for page, number in here.items())
        names = tuple(n for layers in held.values() for n in layers)
        group = bucket.first
        tables.append(
            CacheGroup(group.kind, names, group.block or 0, size_here, group.window)
        )
    return tables
