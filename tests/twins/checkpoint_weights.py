"""A checkpoint folder as float32 arrays, read with numpy alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twins.nvfp4_arithmetic import Bytes, Floats, decode_bf16, decode_e4m3, dequantize

_STORED_AS: Final[Mapping[str, np.dtype[Any]]] = {
    "F32": np.dtype("<f4"),
    "BF16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "F8_E4M3": np.dtype("u1"),
}
_DECODE: Final[Mapping[str, Callable[[NDArray[Any]], Floats]]] = {
    "F32": lambda stored: stored,
    "BF16": decode_bf16,
    "F8_E4M3": decode_e4m3,
}
_PACKED: Final = ("weight_packed", "weight")
_SCALES: Final = (
    "weight_scale",
    "weight_scale_2",
    "weight_global_scale",
    "input_scale",
    "input_global_scale",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as it is in the file.

    Attributes:
        dtype: safetensors' name, ``F8_E4M3``.
        data: The codes; a view of the file's bytes.
    """

    dtype: str
    data: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Weights:
    """What a model computes with.

    Attributes:
        tensors: Name, ``.weight`` at the end also where it was packed, to values.
        input_scales: Module to the calibrated activation scale, where there is one.
    """

    tensors: Mapping[str, Floats]
    input_scales: Mapping[str, float]


def read_tensors(folder: Path) -> dict[str, Stored]:
    """Return every tensor of every shard in ``folder``."""
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise FileNotFoundError(f"no .safetensors file in {folder}")
    return {name: t for shard in shards for name, t in read_shard(shard).items()}


def read_shard(path: Path) -> dict[str, Stored]:
    """Return every tensor of one file: 8 bytes of length, a JSON header, the data."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = np.frombuffer(
            content[start + begin : start + end], _STORED_AS[entry["dtype"]]
        )
        tensors[name] = Stored(entry["dtype"], data.reshape(entry["shape"]))
    return tensors


def read_weights(folder: Path) -> Weights:
    """Return the weights of a plain, ModelOpt or compressed-tensors checkpoint."""
    stored = read_tensors(folder)
    tensors: dict[str, Floats] = {}
    input_scales: dict[str, float] = {}
    for name, tensor in stored.items():
        module, _, kind = name.rpartition(".")
        if kind in _PACKED and tensor.dtype == "U8":
            tensors[f"{module}.weight"] = dequantize(
                tensor.data, _block_scale(stored, module), _global_scale(stored, module)
            )
        elif kind == "input_scale":
            input_scales[module] = _scalar(tensor)
        elif kind == "input_global_scale":
            input_scales[module] = 1 / _scalar(tensor)
        elif kind not in _SCALES:
            tensors[name] = _DECODE[tensor.dtype](tensor.data)
    return Weights(tensors, input_scales)


def _block_scale(stored: Mapping[str, Stored], module: str) -> Bytes:
    scale = stored[f"{module}.weight_scale"]
    if scale.dtype != "F8_E4M3":
        raise ValueError(f"{module}.weight_scale is {scale.dtype}, not F8_E4M3")
    return scale.data


def _global_scale(stored: Mapping[str, Stored], module: str) -> float:
    """Return the factor; the two producers store it upside down of each other."""
    if f"{module}.weight_scale_2" in stored:
        return _scalar(stored[f"{module}.weight_scale_2"])
    return 1 / _scalar(stored[f"{module}.weight_global_scale"])


def _scalar(tensor: Stored) -> float:
    return float(tensor.data.reshape(()))
