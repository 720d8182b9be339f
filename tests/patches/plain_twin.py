"""The plain twin of an NVFP4 checkpoint, by our own arithmetic. numpy only, no torch.

Usage: python plain_twin.py NVFP4_FOLDER PLAIN_FOLDER
"""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

Header = dict[str, dict[str, object]]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def e2m1(code: int) -> float:
    """Return the value of a 4-bit code: sign, two exponent bits (bias 1), one more."""
    sign, exponent, mantissa = code >> 3, (code >> 1) & 3, code & 1
    size = mantissa / 2 if exponent == 0 else (1 + mantissa / 2) * 2.0 ** (exponent - 1)
    return -size if sign else size


def e4m3(code: int) -> float:
    """Return the value of an 8-bit code: sign, four exponent bits (bias 7), three."""
    sign, exponent, mantissa = code >> 7, (code >> 3) & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    size = (
        mantissa / 8 * 2.0**-6
        if exponent == 0
        else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    )
    return -size if sign else size


_E2M1 = np.array([e2m1(code) for code in range(16)], dtype=np.float32)
_E4M3 = np.array([e4m3(code) for code in range(256)], dtype=np.float32)


def plain_float32(packed: Bytes, block_scale: Bytes, global_scale: Floats) -> Floats:
    """Return [rows, cols] float32 of packed [rows, cols / 2], scales [rows, cols / 16].

    Args:
        packed: The low nibble is the value of even index.
        block_scale: E4M3 codes.
        global_scale: float32 [] or [rows]; multiplies.
    """
    rows, half = packed.shape
    values = np.empty((rows, 2 * half), dtype=np.float32)
    values[:, 0::2] = _E2M1[packed & 15]
    values[:, 1::2] = _E2M1[packed >> 4]
    scale = _E4M3[block_scale] * np.broadcast_to(global_scale, (rows,))[:, None]
    plain: Floats = values * np.repeat(scale.astype(np.float32), 16, axis=1)
    return plain


def to_bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """Return the bits of each value in bfloat16, rounded to nearest, ties to even."""
    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))
    return (rounded >> 16).astype(np.uint16)


def read_safetensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Return each tensor's dtype word, shape and bytes."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    body = raw[8 + length :]
    return {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def write_safetensors(
    path: Path, tensors: dict[str, tuple[str, list[int], bytes]]
) -> None:
    """Write tensors as ``read_safetensors`` gives them."""
    header: Header = {}
    start = 0
    for name, (dtype, shape, data) in tensors.items():
        end = start + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    bodies = b"".join(data for _, _, data in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + bodies)


def plain_tensors(
    tensors: dict[str, tuple[str, list[int], bytes]],
) -> dict[str, tuple[str, list[int], bytes]]:
    """Return the tensors of the plain twin: packed ones dequantised, scales gone."""
    plain = {}
    for name, (dtype, shape, data) in tensors.items():
        if name.endswith((".weight_scale", ".weight_scale_2", ".input_scale")):
            continue
        if name.endswith((".k_scale", ".v_scale")):
            continue
        if dtype != "U8":
            plain[name] = (dtype, shape, data)
            continue
        _, scale_shape, scale = tensors[f"{name}_scale"]
        _, _, scale_2 = tensors[f"{name}_scale_2"]
        values = plain_float32(
            np.frombuffer(data, dtype=np.uint8).reshape(shape),
            np.frombuffer(scale, dtype=np.uint8).reshape(scale_shape),
            np.frombuffer(scale_2, dtype=np.float32).reshape(()),
        )
        plain[name] = ("BF16", list(values.shape), to_bfloat16(values).tobytes())
    return plain


def make_plain_twin(nvfp4: Path, plain: Path) -> None:
    """Write to the folder ``plain`` what ``nvfp4`` stands for, in bfloat16."""
    plain.mkdir(parents=True)
    config = json.loads((nvfp4 / "config.json").read_text())
    del config["quantization_config"]
    (plain / "config.json").write_text(json.dumps(config))
    tensors = read_safetensors(nvfp4 / "model.safetensors")
    write_safetensors(plain / "model.safetensors", plain_tensors(tensors))


if __name__ == "__main__":
    make_plain_twin(Path(sys.argv[1]), Path(sys.argv[2]))
