"""The arithmetic of stored formats: bytes, packed values, logical parameters. Pure.

How an NVFP4 linear layer of ``rows`` x ``cols`` is stored:

=============  ===================  =====================================
tensor         shape                stored as
=============  ===================  =====================================
weight         [rows, cols / 2]     U8, two E2M1 values a byte
block scale    [rows, cols / 16]    F8_E4M3, one byte each
global scale   []                   F32
input scale    []                   F32; absent where only weights are NVFP4
=============  ===================  =====================================

That is 4.5 bits a weight, not 4: the block scales add one eighth.
Source: vLLM 0.32.0, ``quantization/modelopt.py``, ``create_weights``.
"""

import math
from typing import Final

#: Values that share one block scale.
NVFP4_BLOCK: Final = 16
#: The same in the OCP MX formats.
MXFP4_BLOCK: Final = 32
#: E2M1 values in one byte.
VALUES_PER_BYTE: Final = 2
#: Bytes of one bfloat16 value.
BF16_BYTES: Final = 2

#: Bits of one element. Source: safetensors 0.7, ``tensor.rs``, ``Dtype::bitsize``.
DTYPE_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


def tensor_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Return what a tensor takes in a file; None where it is no whole number of bytes.

    Raises:
        KeyError: The format knows no such dtype.
    """
    bits = DTYPE_BITS[dtype] * math.prod(shape)
    return None if bits % 8 else bits // 8


def scale_block(packed: tuple[int, ...], scale: tuple[int, ...]) -> int | None:
    """Return how many logical values share one block scale; None where none fits.

    Args:
        packed: Shape of the packed weight, two values a byte along the last side.
        scale: Shape of its block scales.
    """
    if len(packed) != len(scale) or not packed or packed[:-1] != scale[:-1]:
        return None
    block, rest = divmod(packed[-1] * VALUES_PER_BYTE, scale[-1] or 1)
    return None if rest or not scale[-1] else block
