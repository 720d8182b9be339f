"""Copies of a checkpoint with one deliberate fault, as a wrong loader would make it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twins.checkpoint_weights import Stored, read_tensors
from twins.nvfp4_arithmetic import E4M3, Bytes, round_e4m3

#: Takes a name and a tensor; gives the new tensor, or None to leave it out.
Fault = Callable[[str, Stored], Stored | None]


def halved_block_scales(part: str) -> Fault:
    """Halve the block scale of every weight whose name has ``part`` in it."""

    def fault(name: str, tensor: Stored) -> Stored:
        if not name.endswith(".weight_scale") or part not in name:
            return tensor
        return Stored(tensor.dtype, _encode_e4m3(E4M3[tensor.data] / 2))

    return fault


def global_scale_of_one(name: str, tensor: Stored) -> Stored:
    """Set ``weight_scale_2`` to 1, which is what forgetting it comes to."""
    if not name.endswith(".weight_scale_2"):
        return tensor
    return Stored(tensor.dtype, np.ones_like(tensor.data))


def no_global_scale(name: str, tensor: Stored) -> Stored | None:
    """Leave ``weight_scale_2`` out of the file."""
    return None if name.endswith(".weight_scale_2") else tensor


def swapped_nibbles(_: str, tensor: Stored) -> Stored:
    """Put the value with the even index into the high nibble."""
    if tensor.dtype != "U8":
        return tensor
    return Stored("U8", (tensor.data >> 4) | (tensor.data << 4))


def corrupted(folder: Path, copy: Path, fault: Fault) -> Path:
    """Write to ``copy`` what ``fault`` makes of the checkpoint; return ``copy``."""
    shutil.copytree(folder, copy)
    changed = {n: fault(n, tensor) for n, tensor in read_tensors(folder).items()}
    kept = {n: tensor for n, tensor in changed.items() if tensor is not None}
    write_shard(copy / "model.safetensors", kept)
    return copy


def write_shard(path: Path, tensors: dict[str, Stored]) -> None:
    """Write tensors as one .safetensors file."""
    header, position = {}, 0
    for name, tensor in tensors.items():
        end = position + tensor.data.nbytes
        header[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.data.shape,
            "data_offsets": (position, end),
        }
        position = end
    # The data must begin at a multiple of 8.
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.data.tobytes())


def _encode_e4m3(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Bytes:
    """Return the code of the nearest value; block scales are never negative."""
    return np.searchsorted(E4M3[:0x7F], round_e4m3(values)).astype(np.uint8)
