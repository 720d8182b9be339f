"""NVFP4 by the book, in numpy: tables, packing, scales. No vLLM, no ModelOpt.

A weight is ``E2M1 value x E4M3 block scale x F32 global scale``, 16 values of a row
to a block, two values a byte, the one with the even index in the low nibble.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BLOCK: Final = 16
E2M1_MAX: Final = 6.0
E4M3_MAX: Final = 448.0


def _decode_e4m3_code(code: int) -> float:
    """Decode one byte: sign, 4 exponent bits (bias 7), 3 mantissa bits, no infinity."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code >> 3) & 0xF, code & 0x7
    if exponent == 0xF and mantissa == 0x7:
        return float("nan")
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return float(sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7))


#: The value of each of the 16 nibbles: sign, 2 exponent bits (bias 1), 1 mantissa bit.
E2M1: Final[Floats] = np.array(
    [sign * m for sign in (1, -1) for m in (0.0, 0.5, 1, 1.5, 2, 3, 4, 6)], np.float32
)
#: The value of each of the 256 bytes; 0x7F and 0xFF are NaN.
E4M3: Final[Floats] = np.array([_decode_e4m3_code(c) for c in range(256)], np.float32)


def decode_e4m3(codes: Bytes) -> Floats:
    """Return the value of each E4M3 byte; same shape."""
    return E4M3[codes]


def decode_bf16(codes: NDArray[np.uint16]) -> Floats:
    """Return the value of each bfloat16 code; same shape."""
    return (codes.astype(np.uint32) << 16).view(np.float32)


def unpack_e2m1(packed: Bytes) -> Floats:
    """Return the two values of each byte, low nibble first: [..., n] to [..., 2n]."""
    nibbles = np.stack([packed & 0xF, packed >> 4], axis=-1)
    return E2M1[nibbles.reshape(*packed.shape[:-1], -1)]


def dequantize(packed: Bytes, block_scale: Bytes, global_scale: float) -> Floats:
    """Return the weight that three stored tensors stand for.

    Args:
        packed: [out, in / 2].
        block_scale: [out, in / 16], E4M3 codes.
        global_scale: What the product is multiplied by: ModelOpt's
            ``weight_scale_2``, or 1 / compressed-tensors' ``weight_global_scale``.

    Returns:
        [out, in].
    """
    values = unpack_e2m1(packed)
    if block_scale.shape != (packed.shape[0], values.shape[1] // BLOCK):
        raise ValueError(
            f"block scales {block_scale.shape} do not fit weights {values.shape}"
        )
    scale = decode_e4m3(block_scale) * np.float32(global_scale)
    return values * np.repeat(scale, BLOCK, axis=1)


def _nearest(magnitudes: Floats, grid: Floats) -> Floats:
    """Round each magnitude to the grid; ties to the even code, above it to the top."""
    middles = (grid[1:] + grid[:-1]) / 2
    code = np.searchsorted(middles, magnitudes, side="left")
    tie = (code < len(middles)) & (
        magnitudes == middles[np.minimum(code, len(middles) - 1)]
    )
    nearest: Floats = grid[code + (tie & (code % 2 == 1))]
    return nearest


def round_e4m3(values: Floats) -> Floats:
    """Round to E4M3, to the nearest, saturating at 448."""
    return np.copysign(_nearest(np.abs(values), E4M3[:0x7F]), values)


def round_e2m1(values: Floats) -> Floats:
    """Round to E2M1, to the nearest, saturating at 6."""
    return np.copysign(_nearest(np.abs(values), E2M1[:8]), values)


def round_activation(hidden: Floats, input_scale: float) -> Floats:
    """Return activations as a W4A4 kernel sees them.

    Args:
        hidden: [..., in].
        input_scale: The calibrated ``amax / (6 * 448)``; block scales are made on
            the fly, relative to it.
    """
    blocks = hidden.reshape(*hidden.shape[:-1], -1, BLOCK)
    amax = np.abs(blocks).max(axis=-1, keepdims=True)
    block_scale = round_e4m3(amax / np.float32(E2M1_MAX * input_scale))
    scale = block_scale * np.float32(input_scale)
    units = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)
    return (round_e2m1(units) * scale).reshape(hidden.shape)
