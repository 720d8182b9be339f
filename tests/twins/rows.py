"""The rows of the matrix."""

from typing import Final

from twins import specimens_of_layouts as made
from twins.matrix import Row
from twins.plain import (
    fused,
    projection_first,
    projection_first_packed,
    without_input_scales,
    without_leaked_keys,
)

_PER_EXPERT: Final = "modelopt-per-expert"
_FUSED: Final = "modelopt-fused"
_FIRST: Final = "modelopt-projection-first"

_QWEN3_MOE: Final = (
    Row(layout=_PER_EXPERT, kind="A", export=made.QWEN3_MOE),
    Row(layout=_PER_EXPERT, kind="A, modelopt 0.37.0", export=made.QWEN3_MOE_0_37),
    Row(layout=_PER_EXPERT, kind="A, W4A16", export=made.QWEN3_MOE_W4A16),
    Row(
        layout=_PER_EXPERT,
        kind="A, FP8 KV",
        export=made.QWEN3_MOE_FP8_KV,
        # A cache in FP8 is near, not equal; test_engine.py judges that.
        options=(("kv_cache_dtype", "bfloat16"),),
    ),
    Row(
        layout=_PER_EXPERT,
        kind="A, claims W4A4, input scales taken out",
        export=made.QWEN3_MOE,
        change=without_input_scales,
    ),
    Row(
        layout=_FIRST,
        kind="B, renamed",
        export=made.QWEN3_MOE,
        change=projection_first,
    ),
    Row(
        layout=_FIRST,
        kind="B, renamed, weight_packed",
        export=made.QWEN3_MOE,
        change=projection_first_packed,
    ),
    Row(
        layout="modelopt-compressed-export",
        kind="C",
        export=made.QWEN3_MOE_COMPRESSED_EXPORT,
        right=made.QWEN3_MOE_0_37,
    ),
    Row(
        layout="modelopt-compressed-export",
        kind="C, leaked keys taken out",
        export=made.QWEN3_MOE_COMPRESSED_EXPORT,
        right=made.QWEN3_MOE_0_37,
        change=without_leaked_keys,
    ),
    Row(
        layout="modelopt-compressed-export",
        kind="C, experts only",
        export=made.QWEN3_MOE_EXPERTS_COMPRESSED_EXPORT,
        right=made.QWEN3_MOE_EXPERTS_0_37,
    ),
    Row(
        layout="modelopt-compressed-export",
        kind="C, experts only, leaked keys taken out",
        export=made.QWEN3_MOE_EXPERTS_COMPRESSED_EXPORT,
        change=without_leaked_keys,
        right=made.QWEN3_MOE_EXPERTS_0_37,
    ),
    Row(layout="modelopt-state-dict", kind="C2", export=made.QWEN3_MOE_STATE_DICT),
    Row(
        layout=_FUSED,
        kind="D1, rearranged",
        export=made.QWEN3_MOE,
        change=fused("_", transposed=True),
    ),
    Row(
        layout=_FUSED,
        kind="D2, rearranged",
        export=made.QWEN3_MOE,
        change=fused("_", transposed=False),
    ),
    Row(
        layout=_FUSED,
        kind="D2 with points, rearranged",
        export=made.QWEN3_MOE,
        change=fused(".", transposed=False),
    ),
    Row(layout="modelopt-awq", kind="F, AWQ", export=made.QWEN3_MOE_AWQ),
    Row(layout="modelopt-svdquant", kind="F, SVDQuant", export=made.QWEN3_MOE_SVDQUANT),
    Row(layout="compressed-tensors", kind="E", export=made.QWEN3_MOE_CT),
    Row(layout="compressed-tensors", kind="E16", export=made.QWEN3_MOE_CT_A16),
)
_OTHERS: Final = (
    Row(layout=_PER_EXPERT, kind="A", export=made.QWEN3),
    Row(layout=_PER_EXPERT, kind="A", export=made.LLAMA),
    Row(layout=_PER_EXPERT, kind="A", export=made.QWEN3_VL_MOE),
    Row(layout=_FIRST, kind="B", export=made.QWEN3_VL_MOE_0_43),
    Row(layout=_PER_EXPERT, kind="A", export=made.DEEPSEEK_V3),
    Row(layout=_PER_EXPERT, kind="A", export=made.QWEN3_5_MOE),
    Row(
        layout=_FUSED,
        kind="D2, rearranged",
        export=made.QWEN3_5_MOE,
        change=fused("_", transposed=False),
    ),
    Row(layout=_FUSED, kind="D1", export=made.LLAMA4_VISION),
    Row(layout=_FUSED, kind="D1", export=made.LLAMA4),
    Row(layout=_FUSED, kind="D1", export=made.GPT_OSS),
    Row(layout=_PER_EXPERT, kind="A", export=made.GLM4_MOE),
    Row(layout=_PER_EXPERT, kind="A", export=made.MINIMAX_M2),
    Row(layout=_PER_EXPERT, kind="A", export=made.NEMOTRON_H),
    Row(layout=_PER_EXPERT, kind="A", export=made.GEMMA4),
)
ROWS: Final = (*_QWEN3_MOE, *_OTHERS)
