"""How vLLM lays out a KV cache, and how many tokens it holds. Pure arithmetic.

Groups, pages and blocks are those of vLLM 0.32.0, ``v1/core/kv_cache_utils.py`` and
``v1/kv_cache_interface.py``; the block of a hybrid is that of
``platforms/interface.py``, ``_align_hybrid_block_size``. ``docs/memory.md`` has the
counts of the real engine beside those of this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from nvfp4_serve.checkpoint.shapes import KvKind, KvLayers, KvShape, KvState
from nvfp4_serve.plan.kv_groups import CacheGroup
from nvfp4_serve.plan.kv_packed import packed_groups

#: Bytes of one value. NVFP4 keeps 4 bits and a scale of one byte for 16 values.
VALUE_BYTES: Final = {
    "bfloat16": Fraction(2),
    "fp8": Fraction(1),
    "nvfp4": Fraction(9, 16),
}
#: Kinds that vLLM puts into one group whatever their pages; the others are unified.
_WHOLE: Final = frozenset({KvKind.FULL, KvKind.LATENT})
#: Hybrids with latent attention get blocks of a multiple of it.
_LATENT_HYBRID: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """What decides the layout beside the model.

    Attributes:
        value_bytes: Of one value of a key or of a value.
        state_bytes: Of one value of a recurrent state, at least.
        block: Tokens of one block.
        tensor: GPUs that share a layer.
        in_flight: Tokens that may be on their way at once: batches x tokens of one.
        speculated: Tokens that a draft proposes.
        keeps_prefixes: Prefix caching is on; a state is then kept more than once.
        draft: The layers of multi-token prediction are loaded.
    """

    value_bytes: Fraction = Fraction(2)
    state_bytes: int = 0
    block: int = 16
    tensor: int = 1
    in_flight: int = 0
    speculated: int = 0
    keeps_prefixes: bool = True
    draft: bool = False


@dataclass(frozen=True, slots=True)
class _Layers:
    """Layers of one kind, and the page that each gets for one block."""

    group: KvLayers
    block: int
    page: int

    @property
    def count(self) -> int:
        return len(self.group.layers)


@dataclass(frozen=True, slots=True)
class Cache:
    """A KV cache on one GPU.

    Attributes:
        groups: All draw their blocks from one pool.
        paging: What it was laid out by.
    """

    groups: tuple[CacheGroup, ...]
    paging: Paging

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of the pool."""
        return max(group.bytes for group in self.groups)

    @property
    def block(self) -> int:
        """Tokens of one block of attention, which vLLM may have made larger."""
        return max(group.block for group in self.groups)

    def blocks_for(self, tokens: int) -> int:
        """Return the blocks that one request of ``tokens`` takes."""
        return sum(self._blocks(group, tokens) for group in self.groups)

    def bytes_for(self, tokens: int) -> int:
        """Return the bytes in which one request of ``tokens`` fits.

        One block more than it takes: vLLM keeps one that is never used.
        """
        return (self.blocks_for(tokens) + 1) * self.block_bytes

    def tokens_in(self, size: int, longest: int) -> int:
        """Return the tokens that vLLM says a cache of ``size`` bytes holds.

        Requests of ``longest`` tokens each, and parts of one: ``GPU KV cache size``.
        """
        blocks = size // self.block_bytes
        return int(blocks / self.blocks_for(longest) * longest)

    def longest_in(self, size: int, wanted: int) -> int | None:
        """Return the most tokens of one request that ``size`` bytes hold.

        ``wanted``, or a multiple of the block; None where not even a block fits.
        """
        if self.bytes_for(wanted) <= size:
            return wanted
        fits, misses = 0, -(-wanted // self.block)
        while misses - fits > 1:
            middle = (fits + misses) // 2
            if self.bytes_for(middle * self.block) <= size:
                fits = middle
            else:
                misses = middle
        return fits * self.block or None

    def _blocks(self, group: CacheGroup, tokens: int) -> int:
        if group.states:
            return group.states
        held = tokens
        if group.kind is KvKind.SLIDING and group.window is not None:
            held = min(tokens, group.window - 1 + self.paging.in_flight)
        if group.kind is KvKind.CHUNKED and group.window is not None:
            held = min(tokens, group.window + self.paging.in_flight)
        # A window need not begin where a block does.
        return -(-held // group.block) + (group.kind is KvKind.SLIDING)


def lay_out(shape: KvShape, paging: Paging, stage: range | None = None) -> Cache | None:
    """Return the cache of the layers of one pipeline stage.

    Args:
        shape: Of the model.
        paging: What else decides it.
        stage: The layers that are held here; None for all.

    Returns:
        None where vLLM would not lay it out, or nothing is held here.
    """
    groups = shape.groups + (shape.draft if paging.draft else ())
    if shape.is_packed:
        packed = packed_groups(groups, stage)
        return None if packed is None else Cache(packed, paging)
    layers = _pages(_merged(groups), paging)
    if all(held.group.kind in _WHOLE for held in layers):
        return _one_group(layers, paging, stage)
    unified = _unified(layers)
    if unified is None:
        return None
    tables = [table for held in unified for table in _tables(held, _size(unified))]
    cut = [_on_stage(table, stage, paging) for table in tables]
    return Cache(tuple(cut), paging) if any(group.bytes for group in cut) else None


def _merged(groups: Sequence[KvLayers]) -> list[KvLayers]:
    """Put the layers of a draft to those that keep the same."""
    merged: dict[KvLayers, tuple[int, ...]] = {}
    for group in groups:
        kept = replace(group, layers=())
        merged[kept] = (*merged.get(kept, ()), *group.layers)
    return [replace(kept, layers=layers) for kept, layers in merged.items()]


def _pages(groups: Sequence[KvLayers], paging: Paging) -> list[_Layers]:
    states = [_state_bytes(g.state, paging) for g in groups if g.state is not None]
    block, page = paging.block, None
    tokens = [_token_bytes(g, paging) for g in groups if g.state is None]
    if states and tokens:
        step = paging.block
        if any(group.kind is KvKind.LATENT for group in groups):
            step = max(step, _LATENT_HYBRID)
        block = int(step * -(-max(states) // (step * max(tokens))))
        page = int(block * max(tokens))
    return [
        _Layers(g, block, page or _state_bytes(g.state, paging))
        if g.state is not None
        else _Layers(g, block, int(block * _token_bytes(g, paging)))
        for g in groups
    ]


def _token_bytes(group: KvLayers, paging: Paging) -> Fraction:
    heads = max(1, group.heads // paging.tensor)
    value = paging.value_bytes
    if group.value_bytes is not None:
        value = Fraction(group.value_bytes)
    return heads * group.width * value


def _state_bytes(state: KvState, paging: Paging) -> int:
    """Return the bytes of one state on one GPU.

    Every GPU has a group at least: vLLM 0.32.0, ``extra_groups_for_head_shards``.
    """
    groups = state.groups
    if groups % paging.tensor:
        groups = paging.tensor
    row = (state.conv_values + groups * state.group_values) // paging.tensor
    rows = state.conv_rows + paging.speculated
    value = max(state.value_bytes, paging.state_bytes)
    return row * rows * 2 + state.values // paging.tensor * value


def _one_group(
    layers: list[_Layers], paging: Paging, stage: range | None
) -> Cache | None:
    numbers = [(n, held.page) for held in layers for n in held.group.layers]
    here = [page for n, page in numbers if stage is None or n in stage]
    if not here:
        return None
    kind = layers[0].group.kind
    names = tuple(n for n, _ in numbers)
    return Cache((CacheGroup(kind, names, layers[0].block, sum(here), None),), paging)


def _unified(layers: list[_Layers]) -> list[_Layers] | None:
    """Give all layers pages of one size: larger blocks, or padding.

    None where vLLM refuses: latent pages are not padded.
    """
    largest = max(held.page for held in layers)
    unified = []
    for held in layers:
        times, rest = divmod(largest, held.page)
        if held.group.kind is KvKind.STATE or rest:
            if held.group.kind is KvKind.LATENT:
                return None
            unified.append(replace(held, page=largest))
        else:
            unified.append(replace(held, block=held.block * times, page=largest))
    return unified


def _size(layers: list[_Layers]) -> int:
    """Return the layers of one table."""
    fewest = min(held.count for held in layers)
    most = max(held.count for held in layers)
    return most if most < fewest * 1.5 else fewest


def _tables(held: _Layers, size: int) -> list[tuple[_Layers, tuple[int, ...]]]:
    count = -(-held.count // size)
    return [(held, held.group.layers[first::count]) for first in range(count)]


def _on_stage(
    table: tuple[_Layers, tuple[int, ...]], stage: range | None, paging: Paging
) -> CacheGroup:
    held, layers = table
    here = sum(stage is None or n in stage for n in layers)
    states = 0
    if held.group.state is not None:
        kept = 1 + held.group.state.checkpoints if paging.keeps_prefixes else 0
        states = 1 + paging.speculated + kept
    size = here * held.page
    return CacheGroup(
        held.group.kind, layers, held.block, size, held.group.window, states
    )
