"""The caches of DeepSeek-V4: windows, compressed keys, and what is not compressed yet.

vLLM 0.32.0, models/deepseek_v4/attention.py and compressor.py, and
v1/attention/backends/mla/sparse_swa.py: the pages of ``fp8_ds_mla``, FlashMLA's format.
Takes values; reads no file.
"""

from typing import Final

from nvfp4_serve.checkpoint.schema import SizeConfig, TextConfig
from nvfp4_serve.checkpoint.shapes import KvKind, KvLayers, KvShape

#: The heads that the format is defined for: 448 values in FP8, 64 in bfloat16, and 8
#: bytes of scales; the indexer's have 128 in FP8 and one scale in float32.
_WIDTH: Final = 512
_ROPE: Final = 64
_INDEX: Final = 128
_ROW: Final = 584
_INDEX_ROW: Final = 132
#: A page is a multiple of it.
_ALIGNMENT: Final = 576
_BLOCK: Final = 256
_WINDOW_BLOCK: Final = 64
#: Ratio of the compression to the tokens of one block of its state, and to how many
#: windows overlap.
_STATES: Final = {4: (4, 2), 128: (8, 1)}
#: Of a state: a key and its score, in float32.
_STATE_BYTES: Final = 2 * 4


def read_compressed(text: TextConfig, size: SizeConfig) -> KvShape | None:
    """Return what each layer keeps; None where the format is not defined for it."""
    ratios, layers = text.compress_ratios, text.num_hidden_layers
    known = (text.head_dim, size.qk_rope_head_dim, size.index_head_dim)
    if not isinstance(ratios, list | tuple) or layers is None:
        return None
    if known != (_WIDTH, _ROPE, _INDEX) or not size.sliding_window:
        return None
    own = [max(1, ratio) for ratio in ratios[:layers]]
    if len(own) < layers or not set(own) <= {1, *_STATES}:
        return None
    window = size.sliding_window
    groups = [_window(tuple(range(layers)), window)]
    for ratio in sorted(set(own) - {1}):
        which = tuple(n for n, each in enumerate(own) if each == ratio)
        groups += _compressed(which, ratio)
    drafts = tuple(range(layers, layers + (size.num_nextn_predict_layers or 0)))
    draft = (_window(drafts, window),) if drafts else ()
    return KvShape(tuple(groups), draft, is_packed=True)


def _window(layers: tuple[int, ...], window: int) -> KvLayers:
    page = _aligned(_WINDOW_BLOCK * _ROW)
    return KvLayers(
        KvKind.SLIDING, layers, window=window, block=_WINDOW_BLOCK, page=page
    )


def _compressed(layers: tuple[int, ...], ratio: int) -> list[KvLayers]:
    """Return the compressed keys of ``layers``, and the states of what will be."""
    rows = _BLOCK // ratio
    kept = [_keys(layers, rows * _ROW), _state(layers, ratio, _WIDTH)]
    if ratio == min(_STATES):  # these have an indexer
        kept += [_keys(layers, rows * _INDEX_ROW), _state(layers, ratio, _INDEX)]
    return kept


def _keys(layers: tuple[int, ...], size: int) -> KvLayers:
    return KvLayers(KvKind.LATENT, layers, block=_BLOCK, page=_aligned(size))


def _state(layers: tuple[int, ...], ratio: int, width: int) -> KvLayers:
    block, overlap = _STATES[ratio]
    page = _aligned(block * overlap * width * _STATE_BYTES)
    return KvLayers(
        KvKind.SLIDING, layers, window=overlap * ratio, block=block, page=page
    )


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
