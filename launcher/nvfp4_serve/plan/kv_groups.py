"""Layers of a KV cache that share one table of blocks. Values only."""

from dataclasses import dataclass

from nvfp4_serve.checkpoint.shapes import KvKind


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers that share one table of blocks.

    Attributes:
        kind: What each keeps.
        layers: Their numbers.
        block: Tokens of one block.
        bytes: Of one block, over the layers that are held here.
        window: Tokens of a window or a chunk.
        states: Blocks that one request takes, however long; 0 where it depends.
    """

    kind: KvKind
    layers: tuple[int, ...]
    block: int
    bytes: int
    window: int | None
    states: int = 0
