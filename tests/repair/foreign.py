"""Right exports, written in the layouts of the wild: the way back from a repair.

Own arithmetic on bytes, so that nothing of what is tested is used to test it.
"""

import json
import random
import re
import shutil
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "examples" / "sonnet-18-nvfp4"
HEADERS = TOP / "tests" / "data" / "headers"
_EXPERT = re.compile(r"^(.*\.experts)\.(\d+)\.(\w+_proj)\.(\w+)$")
_WIDTH = {"F32": 4, "BF16": 2, "U8": 1, "F8_E4M3": 1}


class Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


Tensors = dict[str, Tensor]
#: Makes a foreign layout of a right one.
Foreign = Callable[[Tensors], Tensors]


def read_tensors(folder: Path) -> Tensors:
    """Return every tensor of every shard; each begins where its width wants it."""
    tensors: Tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        for name, entry, data, at in _read_shard(shard):
            assert at % _WIDTH[entry["dtype"]] == 0, f"{name} lies at {at}"
            assert name not in tensors
            tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), data)
    return tensors


def _read_shard(path: Path) -> Iterable[tuple[str, dict[str, Any], bytes, int]]:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            yield name, entry, content[begin:end], begin


def read_metadata(path: Path) -> object:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]).get("__metadata__")


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` in their order, the data at a multiple of 8."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", "by": "a test"}}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (at, at + len(tensor.data)),
        }
        at += len(tensor.data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(tensor.data for tensor in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_checkpoint(
    folder: Path,
    tensors: Tensors,
    *,
    like: Path = EXAMPLE,
    shards: int = 1,
    wide_first: bool = True,
    **config: object,
) -> Path:
    """Write ``tensors`` beside the small files of ``like``, its config changed."""
    folder.mkdir(parents=True)
    for path in like.iterdir():
        if path.suffix == ".json" and path.name != "model.header.json":
            shutil.copy(path, folder / path.name)
    changed = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(changed))
    if wide_first:
        tensors = dict(sorted(tensors.items(), key=lambda item: -_WIDTH[item[1].dtype]))
    if shards == 1:
        write_shard(folder / "model.safetensors", tensors)
        return folder
    weight_map: dict[str, str] = {}
    each = -(-len(tensors) // shards)
    items = list(tensors.items())
    for number in range(shards):
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(items[number * each : (number + 1) * each])
        write_shard(folder / name, part)
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 1, "by": "a test"}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def filled(name: str) -> Tensors:
    """Return an export of ModelOpt 0.47.0 whose header is kept, with random bytes."""
    header = json.loads((HEADERS / name / "model.header.json").read_bytes())
    header.pop("__metadata__", None)
    dice = random.Random(name)  # noqa: S311 - the same bytes in each run
    tensors = {}
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        data = dice.randbytes(end - begin)
        if entry["dtype"] == "F32":
            data = np.frombuffer(data, "<u4").astype("<f4").tobytes()
        tensors[key] = Tensor(entry["dtype"], tuple(entry["shape"]), data)
    return tensors


def projection_first(tensors: Tensors) -> Tensors:
    """B: the projection before the number of the expert."""
    return {_EXPERT.sub(r"\1.\3.\2.\4", name): t for name, t in tensors.items()}


def packed_names(tensors: Tensors) -> Tensors:
    """The weight under compressed-tensors' name, the scales under ModelOpt's."""
    return {
        f"{name}_packed" if tensor.dtype == "U8" else name: tensor
        for name, tensor in tensors.items()
    }


def quantizer_state(tensors: Tensors) -> Tensors:
    """C2: the state of the quantizers, an ``amax`` in place of each input scale."""
    changed = {}
    for name, tensor in tensors.items():
        module, _, suffix = name.rpartition(".")
        if suffix == "weight_scale":
            changed[f"{module}.weight_quantizer._scale"] = tensor
        elif suffix == "weight_scale_2":
            changed[f"{module}.weight_quantizer._double_scale"] = tensor
            changed[f"{module}.weight_quantizer._amax"] = tensor
        elif suffix == "input_scale":
            amax = amax_of(np.frombuffer(tensor.data, "<f4")[0])
            changed[f"{module}.input_quantizer._amax"] = Tensor(
                "F32", (), amax.tobytes()
            )
        else:
            changed[name] = tensor
    return changed


def amax_of(scale: np.float32) -> np.float32:
    """Return a float32 whose float32 quotient by 6 * 448 is ``scale``."""
    divisor = np.float32(2688)
    near = scale * divisor
    for amax in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.inf)):
        if np.float32(amax) / divisor == scale:
            return np.float32(amax)
    raise AssertionError(scale)


def fused_rows(separator: str) -> Foreign:
    """D2: all experts in one tensor, the rows first."""
    return lambda tensors: _fused(tensors, separator, transposed=False)


def fused_columns(separator: str) -> Foreign:
    """D1: all experts in one tensor, the columns first."""
    return lambda tensors: _fused(tensors, separator, transposed=True)


def _fused(tensors: Tensors, separator: str, *, transposed: bool) -> Tensors:
    experts: defaultdict[tuple[str, str], dict[tuple[int, str], Tensor]]
    experts = defaultdict(dict)
    changed = {}
    for name, tensor in tensors.items():
        found = _EXPERT.match(name)
        if found is None:
            changed[name] = tensor
        else:
            experts[found[1], found[4]][int(found[2]), found[3]] = tensor
    for (module, suffix), each in experts.items():
        count = 1 + max(number for number, _ in each)
        for fused, halves in (
            ("gate_up_proj", ("gate_proj", "up_proj")),
            ("down_proj", ("down_proj",)),
        ):
            end = f"{separator}{suffix}"
            if suffix == "weight" and separator == "_":
                end = ""
            stack = [_joined([each[n, h] for h in halves]) for n in range(count)]
            changed[f"{module}.{fused}{end}"] = _stacked(stack, transposed=transposed)
    return changed


def _joined(halves: list[Tensor]) -> Tensor:
    """Return the rows of both halves; of scalars the one that they share."""
    first = halves[0]
    if not first.shape:
        assert all(half.data == first.data for half in halves)
        return first
    rows = sum(half.shape[0] for half in halves)
    data = b"".join(half.data for half in halves)
    return Tensor(first.dtype, (rows, first.shape[1]), data)


def _stacked(stack: list[Tensor], *, transposed: bool) -> Tensor:
    first = stack[0]
    data = [tensor.data for tensor in stack]
    shape = first.shape
    if transposed and shape:
        data = [np.frombuffer(d, "u1").reshape(shape).T.tobytes() for d in data]
        shape = shape[::-1]
    return Tensor(first.dtype, (len(stack), *shape), b"".join(data))
