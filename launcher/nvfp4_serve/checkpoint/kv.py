"""What config.json says of the KV cache. Takes values; reads no file.

Which layers keep what is read as the model's own code in vLLM 0.32.0 reads it. Where
that code asks more than is read here, the answer is None: not known.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from nvfp4_serve.checkpoint.kv_compressed import read_compressed
from nvfp4_serve.checkpoint.schema import SizeConfig, TextConfig, sizes
from nvfp4_serve.checkpoint.shapes import KvKind, KvLayers, KvShape, KvState

_KINDS: Final[Mapping[str, KvKind | None]] = {
    "full_attention": KvKind.FULL,
    "attention": KvKind.FULL,
    "sliding_attention": KvKind.SLIDING,
    "chunked_attention": KvKind.CHUNKED,
    "linear_attention": KvKind.STATE,
    "mamba": KvKind.STATE,
    "mamba2": KvKind.STATE,
    "moe": None,
    "mlp": None,
}
#: The letters of ``hybrid_override_pattern``; others are layers that keep nothing.
_LETTERS: Final = {"*": KvKind.FULL, "M": KvKind.STATE}
#: What else marks layers that differ, in a way that is not counted here.
_UNCOUNTED: Final = (
    "mamba_d_state", "mamba_num_heads", "ssm_cfg", "linear_attn_config",
    "linear_num_key_heads", "layer_group_size", "attn_type_list", "block_types",
    "sliding_window_pattern", "attention_chunk_size", "hybrid_layer_pattern",
    "is_hybrid", "conv_L_cache", "compress_ratios", "swa_head_dim",
    "swa_num_key_value_heads",
)  # fmt: skip
#: The cache of the indexer of DeepSeek-V3.2 holds FP8 values and a scale in F32 for
#: each 128 of them. vLLM 0.32.0, models/deepseek_v2.py, Indexer.
_INDEX_SCALE: Final = 4
_INDEX_BLOCK: Final = 128
_FLOATS: Final = {"float32": 4, "float16": 2, "bfloat16": 2}


def read_kv(text: TextConfig, said: Mapping[str, object]) -> KvShape | None:
    """Return what the KV cache depends on; None where that is not known.

    Args:
        text: The keys of the language model's config that are read.
        said: All of them.
    """
    if text.compress_ratios is not None:
        return read_compressed(text, sizes(said))
    kinds, size = _kinds(text, said), sizes(said)
    if kinds is None or _is_unread(text, size, said):
        return None
    held = len(kinds) - (size.num_kv_shared_layers or 0)
    numbers: defaultdict[KvKind, list[int]] = defaultdict(list)
    for number, kind in enumerate(kinds[:held]):
        if kind is not None:
            numbers[kind].append(number)
    groups = [
        group
        for kind, layers in numbers.items()
        for group in _groups(kind, tuple(layers), text, size)
    ]
    if not groups or any(group is None for group in groups):
        return None
    known = tuple(group for group in groups if group is not None)
    return KvShape(known, tuple(_draft(known, len(kinds), size)))


def linear_heads(size: SizeConfig) -> tuple[int, ...]:
    """Return the numbers of heads of linear attention and of Mamba, if any."""
    heads = (
        size.linear_num_key_heads,
        size.linear_num_value_heads,
        size.mamba_num_heads,
    )
    return tuple(count for count in heads if count)


def _is_unread(text: TextConfig, size: SizeConfig, said: Mapping[str, object]) -> bool:
    """Return whether attention is of a kind whose cache is not computed here."""
    if said.get("linear_attn_config"):
        return True  # Kimi's linear attention
    return size.v_head_dim is not None and text.kv_lora_rank is None


def _kinds(
    text: TextConfig, said: Mapping[str, object]
) -> tuple[KvKind | None, ...] | None:
    """Return what each layer keeps, in order; None where that is not known.

    The layers of a hybrid are told from each other by one key or another.
    """
    names, layers = text.layer_types or text.layers_block_type, text.num_hidden_layers
    if names is not None:
        return tuple(map(_KINDS.get, names)) if set(names) <= set(_KINDS) else None
    if text.hybrid_override_pattern is not None:
        return tuple(map(_LETTERS.get, text.hybrid_override_pattern))
    return None if layers is None else _by_number(layers, text, said)


def _by_number(
    layers: int, text: TextConfig, said: Mapping[str, object]
) -> tuple[KvKind | None, ...] | None:
    if text.attn_layer_indices is not None:
        return _some_full(layers, text.attn_layer_indices)
    if text.attn_layer_period:
        if text.attn_layer_offset is None:
            return None
        periods = range(text.attn_layer_offset, layers, text.attn_layer_period)
        return _some_full(layers, periods)
    if (interval := text.full_attention_interval) is not None:
        return _some_full(layers, range(interval - 1, layers, interval))
    return None if _differ(said) else (KvKind.FULL,) * layers


def _some_full(layers: int, full: Iterable[int]) -> tuple[KvKind, ...]:
    kept = frozenset(full)
    return tuple(KvKind.FULL if n in kept else KvKind.STATE for n in range(layers))


def _differ(said: Mapping[str, object]) -> bool:
    """Return whether the layers differ in a way that is not counted here."""
    slides = said.get("sliding_window") and said.get("use_sliding_window") is not False
    return bool(slides) or any(said.get(key) for key in _UNCOUNTED)


def _groups(
    kind: KvKind, layers: tuple[int, ...], text: TextConfig, size: SizeConfig
) -> Iterator[KvLayers | None]:
    """Yield what ``layers`` keep; None where a size is missing."""
    if kind is KvKind.STATE:
        state = _state(size)
        yield None if state is None else KvLayers(kind, layers, state=state)
        return
    if text.kv_lora_rank is not None:
        yield _latent(kind, layers, text, size)
        if size.index_head_dim is not None:
            scales = size.index_head_dim // _INDEX_BLOCK * _INDEX_SCALE
            index = size.index_head_dim + scales
            yield KvLayers(KvKind.LATENT, layers, width=index, value_bytes=1)
        return
    heads, width = _heads(kind, text, size), _head_width(kind, text, size)
    windows = {
        KvKind.SLIDING: size.sliding_window,
        KvKind.CHUNKED: size.attention_chunk_size,
    }
    window = windows.get(kind)
    if not heads or not width or (kind in windows and not window):
        yield None
    else:
        yield KvLayers(kind, layers, heads, 2 * width, window)


def _latent(
    kind: KvKind, layers: tuple[int, ...], text: TextConfig, size: SizeConfig
) -> KvLayers | None:
    rank, rope = text.kv_lora_rank, size.qk_rope_head_dim
    if kind is not KvKind.FULL or not rank or rope is None:
        return None
    return KvLayers(KvKind.LATENT, layers, width=rank + rope)


def _heads(kind: KvKind, text: TextConfig, size: SizeConfig) -> int | None:
    """Return the KV heads; those of Gemma 4's full layers are their own."""
    if kind is KvKind.FULL and size.num_global_key_value_heads:
        return size.num_global_key_value_heads
    return text.num_key_value_heads or text.num_attention_heads


def _head_width(kind: KvKind, text: TextConfig, size: SizeConfig) -> int | None:
    if kind is KvKind.FULL and size.global_head_dim:
        return size.global_head_dim
    width = text.head_dim or text.attention_head_dim
    if width is None and text.hidden_size and text.num_attention_heads:
        width = text.hidden_size // text.num_attention_heads
    return width


def _state(size: SizeConfig) -> KvState | None:
    """Return the state of Gated DeltaNet (Qwen3-Next, Qwen3.5) or of Mamba 2.

    Source:
        vLLM 0.32.0, layers/mamba/mamba_utils.py, ``gated_delta_net_state_shape`` and
        ``mamba2_state_shape``; models/config.py for the dtypes.
    """
    if size.linear_num_value_heads is not None:
        return _delta_net(size)
    heads, width = size.mamba_num_heads, size.mamba_head_dim
    groups, kernel = size.n_groups, size.conv_kernel
    value_bytes = _FLOATS.get(size.mamba_ssm_cache_dtype or "float32")
    states = size.ssm_state_size
    if not (heads and width and groups and states and kernel and value_bytes):
        return None
    return KvState(
        conv_rows=kernel - 1,
        conv_values=heads * width,
        groups=groups,
        group_values=2 * states,
        values=heads * width * states,
        value_bytes=value_bytes,
        checkpoints=1,  # mamba_mixer2.py, num_prefill_checkpoint_blocks
    )


def _delta_net(size: SizeConfig) -> KvState | None:
    keys, key = size.linear_num_key_heads, size.linear_key_head_dim
    values, value = size.linear_num_value_heads, size.linear_value_head_dim
    kernel = size.linear_conv_kernel_dim
    value_bytes = _FLOATS.get(size.mamba_ssm_dtype or "bfloat16")
    if not (keys and key and values and value and kernel and value_bytes):
        return None
    return KvState(
        conv_rows=kernel - 1,
        conv_values=2 * keys * key + values * value,
        groups=0,
        group_values=0,
        values=values * value * key,
        value_bytes=value_bytes,
    )


def _draft(
    groups: tuple[KvLayers, ...], first: int, size: SizeConfig
) -> Iterator[KvLayers]:
    """Yield what the layers of multi-token prediction keep: as a full layer does."""
    count = size.num_nextn_predict_layers or size.mtp_num_hidden_layers or 0
    layers = tuple(range(first, first + count))
    for group in groups:
        if layers and group.kind in {KvKind.FULL, KvKind.LATENT}:
            yield KvLayers(
                group.kind,
                layers,
                group.heads,
                group.width,
                value_bytes=group.value_bytes,
            )
