"""NVFP4 to a plain dtype, in torch on the CPU. Arithmetic only; no vLLM."""

from __future__ import annotations

import functools

import torch

#: Values that share one block scale.
BLOCK = 16

#: The eight magnitudes of E2M1, by code; bit 3 is the sign.
#: OCP Microscaling Formats (MX) Specification 1.0, section 5.3.3.
_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

#: Values decoded at a time: 32 MiB of float32, so that a large layer never needs a
#: whole copy of itself in float32.
_VALUES_AT_A_TIME = 8 * 1024 * 1024


@functools.cache
def _pairs_by_byte() -> torch.Tensor:
    """Return [256, 2] float32: the two values of each byte, low nibble first."""
    signed = _MAGNITUDES + tuple(-value for value in _MAGNITUDES)
    rows = [[signed[byte & 15], signed[byte >> 4]] for byte in range(256)]
    return torch.tensor(rows, dtype=torch.float32)


def dequantize(
    packed: torch.Tensor,
    block_scale: torch.Tensor,
    global_scale: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Write into ``out`` the values that ``packed`` and its scales stand for.

    ============  ================  ============================
    tensor        shape             dtype
    ============  ================  ============================
    packed        [rows, cols / 2]  uint8, two E2M1 codes a byte
    block_scale   [rows, cols / 16] float8_e4m3fn
    global_scale  [rows]            float32, multiplies
    out           [rows, cols]      bfloat16, float16 or float32
    ============  ================  ============================

    The order of the two products is part of the contract, for it decides the last
    bit: block scale by global scale first, in float32, then by the value, in
    float32, then one rounding to the dtype of ``out``. It is ModelOpt's order.

    Source:
        nvidia-modelopt 0.47.0, ``NVFP4QTensor.dequantize``.
    """
    rows, cols = out.shape
    if packed.shape != (rows, cols // 2) or block_scale.shape != (rows, cols // BLOCK):
        raise ValueError(
            f"packed {tuple(packed.shape)} and block scales "
            f"{tuple(block_scale.shape)} do not make {tuple(out.shape)}"
        )
    step = max(1, _VALUES_AT_A_TIME // cols)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        codes = packed[part].to(torch.int32)
        values = torch.nn.functional.embedding(codes, _pairs_by_byte())
        scale = block_scale[part].float() * global_scale[part].unsqueeze(1)
        blocks = values.view(len(codes), cols // BLOCK, BLOCK)
        out[part] = blocks.mul_(scale.unsqueeze(-1)).view(len(codes), cols)
