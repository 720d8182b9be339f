"""How one module stores its weight, from suffixes, dtypes and shapes alone. Pure.

An ordered table of small tests: the first that holds names the encoding. To teach us
another one, add a line. Source of the suffixes: the exports of nvidia-modelopt 0.37 to
0.47 and compressed-tensors 0.20; vLLM 0.32.0, ``quantization/modelopt.py``.
"""

import enum
import re
from collections.abc import Callable
from typing import Final

from nvfp4_layouts.names import PROJECTION_FIRST, QUANTIZER

from nvfp4_serve.checkpoint.nvfp4 import (
    BF16_BYTES,
    MXFP4_BLOCK,
    NVFP4_BLOCK,
    VALUES_PER_BYTE,
    scale_block,
)
from nvfp4_serve.checkpoint.types import ModuleGroup, StoredTensor


class Encoding(enum.StrEnum):
    """How the weight of a module is stored."""

    PLAIN = "plain"
    MODELOPT_NVFP4 = "ModelOpt NVFP4"
    COMPRESSED_NVFP4 = "compressed-tensors NVFP4"
    MXFP4 = "MXFP4"
    FP8 = "FP8"
    FP8_BLOCK = "FP8 in blocks"
    #: Packed, and its block scales are not there.
    NO_BLOCK_SCALE = "packed values without block scales"
    #: The block scales were made from the packed bytes (Model-Optimizer <= 0.45).
    DESTROYED = "block scales half as wide as the weight"
    #: State of the quantizer that an export should have stripped.
    QUANTIZER_STATE = "state of a quantizer"
    #: ``experts.<projection>.<number>`` (vllm#40885).
    PROJECTION_FIRST = "projection before expert"
    #: All experts in one packed tensor, its scales beside it.
    FUSED = "experts fused into one packed tensor"
    #: ``weight_packed`` beside the scales of ModelOpt.
    PACKED_NAME = "the weight of one producer beside the scales of another"
    UNRECOGNISED = "unrecognised"


#: Encodings whose weight is packed NVFP4 with block scales that can be used.
NVFP4: Final = frozenset({Encoding.MODELOPT_NVFP4, Encoding.COMPRESSED_NVFP4})
#: Encodings of a weight that is quantized, and can be read.
QUANTIZED: Final = NVFP4 | {Encoding.MXFP4, Encoding.FP8, Encoding.FP8_BLOCK}
#: Encodings that no layout of ours can hold.
FOREIGN: Final = frozenset(
    {
        Encoding.DESTROYED,
        Encoding.QUANTIZER_STATE,
        Encoding.PROJECTION_FIRST,
        Encoding.FUSED,
        Encoding.UNRECOGNISED,
    }
)

_FLOATS: Final = frozenset({"BF16", "F16", "F32", "F64"})
_BYTES: Final = frozenset({"U8", "I8"})
_FP8: Final = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
#: Values of fewer than 16 bits: never a plain weight.
_NARROW: Final = _BYTES | _FP8 | {"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0"}
_PACKED_INTEGERS: Final = frozenset({"qweight", "weight_packed"})
_FP8_SCALES: Final = ("weight_scale_inv", "weight_scale", "scale")
_MX_SCALES: Final = ("weight_scale", "scale")
_KV_SCALE: Final = re.compile(r"(^|[._])[qkv]_(scale|zero_point)$|^prob_output_scale$")
_LINEAR: Final = re.compile(r"(_proj|\.w[123])$")
_FUSED: Final = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")


def encoding_of(group: ModuleGroup) -> Encoding:
    """Return how the modules of ``group`` store their weight."""
    return next(name for name, holds in _TABLE if holds(group))


def weight_of(group: ModuleGroup) -> StoredTensor | None:
    """Return the weight, plain or packed, where it has one of the usual names."""
    return group.tensor("weight") or group.tensor("weight_packed")


def is_linear(group: ModuleGroup) -> bool:
    """Return whether its weight is one that vLLM builds as linear layer or experts.

    Not so: a convolution (its weight has three sides), and a table with few rows
    such as the gate of a shared expert.
    """
    if group.name.endswith(".experts"):
        return any(len(tensor.shape) == 3 for tensor in group.tensors)
    weight = weight_of(group)
    sides = len(weight.shape) if weight is not None else 0
    return sides == 2 and _LINEAR.search(group.name) is not None


def is_kv_scale(suffix: str) -> bool:
    """Return whether ``suffix`` names a scale of the KV cache or of attention."""
    return _KV_SCALE.search(suffix) is not None


def parameters_of(group: ModuleGroup, encoding: Encoding) -> int:
    """Return the logical parameters of all modules of ``group``.

    Packed values are counted one by one; scales, and tables of integers, not at all.
    """
    return group.count * sum(_values(tensor, encoding) for tensor in group.tensors)


def dequantized_bytes_of(group: ModuleGroup, encoding: Encoding) -> int:
    """Return the bytes of all modules once packed and FP8 values are bfloat16."""
    return group.count * sum(
        _values(tensor, encoding) * BF16_BYTES
        if tensor.dtype in _NARROW
        else _values(tensor, encoding) and tensor.bytes
        for tensor in group.tensors
    )


def _values(tensor: StoredTensor, encoding: Encoding) -> int:
    """Return how many logical parameters ``tensor`` holds; a scale holds none."""
    if tensor.dtype in _FLOATS:
        is_scale = encoding is not Encoding.PLAIN and _is_scale(tensor.suffix)
        return 0 if is_scale or is_kv_scale(tensor.suffix) else tensor.elements
    if tensor.dtype not in _NARROW or _is_scale(tensor.suffix):
        return 0
    if tensor.dtype in _BYTES and encoding is not Encoding.PLAIN:
        return tensor.elements * VALUES_PER_BYTE
    return tensor.elements


def _is_scale(suffix: str) -> bool:
    return "scale" in suffix or suffix.endswith(("_amax", "zero_point"))


def is_quantizer(group: ModuleGroup) -> bool:
    """Return whether it is a quantizer of ModelOpt's, and holds its state."""
    return "_quantizer" in group.name and any(
        QUANTIZER.match(f"{group.name}.{tensor.suffix}") for tensor in group.tensors
    )


def _is_projection_first(group: ModuleGroup) -> bool:
    return PROJECTION_FIRST.search(group.name) is not None


def _block(group: ModuleGroup, weight: str) -> int | None:
    """Return the values that share a block scale in E4M3; None where that is none."""
    # DeepSeek-V4's own name is ``scale``; its loader knows both.
    packed = group.tensor(weight)
    scale = group.tensor("weight_scale") or group.tensor("scale")
    if packed is None or scale is None:
        return None
    if packed.dtype != "U8" or scale.dtype != "F8_E4M3":
        return None
    return scale_block(packed.shape, scale.shape)


def _is_mxfp4(group: ModuleGroup) -> bool:
    blocks = {t.suffix for t in group.tensors if t.suffix.endswith("_blocks")}
    if blocks:
        return all(group.tensor(b[: -len("blocks")] + "scales") for b in blocks)
    fused = [p for p in map(group.tensor, _FUSED) if p is not None]
    if fused and group.name.endswith(".experts"):
        names = [f"{packed.suffix}_weight_scale" for packed in fused]
        return all(map(_is_mx_pair, fused, map(group.tensor, names)))
    scales = (group.tensor(suffix) for suffix in _MX_SCALES)
    return any(_is_mx_pair(weight_of(group), scale) for scale in scales)


def _is_mx_pair(packed: StoredTensor | None, scale: StoredTensor | None) -> bool:
    return (
        packed is not None
        and scale is not None
        and packed.dtype in _BYTES
        and scale.dtype in ("U8", "F8_E8M0")
        and scale_block(packed.shape, scale.shape) == MXFP4_BLOCK
    )


def fp8_scale(group: ModuleGroup) -> StoredTensor | None:
    """Return the scale of an FP8 weight, of one or of many blocks."""
    found = (group.tensor(suffix) for suffix in _FP8_SCALES)
    return next((scale for scale in found if scale is not None), None)


def _is_fp8(group: ModuleGroup) -> bool:
    weight = group.tensor("weight")
    return weight is not None and weight.dtype in _FP8


def _is_fp8_block(group: ModuleGroup) -> bool:
    """By its scales: two sides, or ModelOpt's four, [rows/128, 1, cols/128, 1]."""
    scale = fp8_scale(group)
    if scale is None or not _is_fp8(group):
        return False
    sides = len(scale.shape)
    return (
        scale.suffix != "weight_scale"
        or sides > 2
        or (sides == 2 and scale.shape[-1] > 1)
    )


def _is_fused(group: ModuleGroup) -> bool:
    return group.name.endswith(".experts") and any(
        t.dtype in _NARROW and len(t.shape) == 3 for t in group.tensors
    )


def _is_no_block_scale(group: ModuleGroup) -> bool:
    """Packed by its dtype and by its global scale, and no block scales at all."""
    weight = weight_of(group)
    named = {tensor.suffix for tensor in group.tensors}
    return (
        weight is not None
        and weight.dtype == "U8"
        and "weight_scale" not in named
        and bool(named & {"weight_scale_2", "weight_global_scale"})
    )


def _is_unrecognised(group: ModuleGroup) -> bool:
    return any(
        (t.dtype in _NARROW or t.suffix in _PACKED_INTEGERS) and len(t.shape) > 1
        for t in group.tensors
    )


_TABLE: Final[tuple[tuple[Encoding, Callable[[ModuleGroup], bool]], ...]] = (
    (Encoding.QUANTIZER_STATE, is_quantizer),
    (Encoding.PROJECTION_FIRST, _is_projection_first),
    (Encoding.MODELOPT_NVFP4, lambda g: _block(g, "weight") == NVFP4_BLOCK),
    (Encoding.DESTROYED, lambda g: _block(g, "weight") == 2 * NVFP4_BLOCK),
    (Encoding.COMPRESSED_NVFP4, lambda g: _block(g, "weight_packed") == NVFP4_BLOCK),
    (Encoding.MXFP4, _is_mxfp4),
    (Encoding.NO_BLOCK_SCALE, _is_no_block_scale),
    (Encoding.FP8_BLOCK, _is_fp8_block),
    (Encoding.FP8, _is_fp8),
    (Encoding.FUSED, _is_fused),
    (Encoding.UNRECOGNISED, _is_unrecognised),
    (Encoding.PLAIN, lambda _: True),
)
