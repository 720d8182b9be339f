"""What a checkpoint of any layout stands for, in bfloat16; and one layout as another.

The plain twin is made from the stored bytes by arithmetic of our own, without the code
that recognises layouts or rewrites them. numpy only.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from patches.plain_twin import (
    plain_float32,
    read_safetensors,
    to_bfloat16,
    write_safetensors,
)

#: dtype word, shape, bytes.
Tensor = tuple[str, list[int], bytes]
Tensors = dict[str, Tensor]

_PROJECTION_FIRST: Final = re.compile(r"\.experts\.(gate|up|down)_proj\.(\d+)\.")
_NOT_IN_A_PLAIN_ONE: Final = re.compile(
    r"[._](weight_scale(_2)?|input_scale|weight_global_scale|input_global_scale)$"
    r"|\.(k_scale|v_scale)$|_quantizer\._\w+$"
)


def make_plain(folder: Path, plain: Path) -> None:
    """Write to the folder ``plain`` what the checkpoint stands for."""
    plain.mkdir(parents=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    (plain / "config.json").write_text(json.dumps(config))
    stored = read_safetensors(folder / "model.safetensors")
    kept = {}
    for name, tensor in stored.items():
        if not _NOT_IN_A_PLAIN_ONE.search(name):
            kept[_expert_first(_plain_name(name))] = _plain(stored, name, tensor)
    write_safetensors(plain / "model.safetensors", kept)


def _plain_name(name: str) -> str:
    return re.sub(r"\.weight_packed$", ".weight", name)


def _expert_first(name: str) -> str:
    return _PROJECTION_FIRST.sub(r".experts.\2.\1_proj.", name)


def _plain(stored: Tensors, name: str, tensor: Tensor) -> Tensor:
    dtype, shape, data = tensor
    if dtype != "U8":
        return tensor
    packed = np.frombuffer(data, np.uint8).reshape(shape)
    if len(shape) == 2:
        module = name.rpartition(".")[0]
        block = _codes(
            stored, f"{module}.weight_scale", f"{module}.weight_quantizer._scale"
        )
        values = plain_float32(packed, block, _global_scale(stored, module))
    else:
        # Experts of Llama 4 and gpt-oss: [expert, input / 2, output].
        block = _codes(stored, f"{name}_weight_scale")
        scale = _scalar(stored[f"{name}_weight_scale_2"])
        values = np.stack(
            [
                plain_float32(
                    np.ascontiguousarray(p.T), np.ascontiguousarray(b.T), scale
                ).T
                for p, b in zip(packed, block, strict=True)
            ]
        )
    bits = to_bfloat16(np.ascontiguousarray(values))
    return "BF16", list(bits.shape), bits.tobytes()


def _codes(
    stored: Tensors, *names: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    _, shape, data = next(stored[name] for name in names if name in stored)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _global_scale(
    stored: Tensors, module: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the factor; compressed-tensors stores what divides."""
    divisor = stored.get(f"{module}.weight_global_scale")
    if divisor is not None:
        return np.float32(1) / _scalar(divisor)
    names = (f"{module}.weight_scale_2", f"{module}.weight_quantizer._double_scale")
    return _scalar(next(stored[name] for name in names if name in stored))


def _scalar(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.frombuffer(tensor[2], np.float32).reshape(())


def rearranged(
    source: Path, folder: Path, change: Callable[[Tensors], Tensors]
) -> None:
    """Write to ``folder`` the checkpoint with ``change`` made to its tensors."""
    shutil.copytree(source, folder)
    path = folder / "model.safetensors"
    tensors = change(read_safetensors(path))
    path.unlink()
    write_safetensors(path, tensors)


def projection_first(tensors: Tensors) -> Tensors:
    """Put the projection before the number of the expert."""
    pattern = re.compile(r"\.experts\.(\d+)\.(\w+_proj)\.")
    return {pattern.sub(r".experts.\2.\1.", n): t for n, t in tensors.items()}


def projection_first_packed(tensors: Tensors) -> Tensors:
    """Do that, and call the weights of experts as in vllm#40885's first report."""
    return {
        n.replace(".weight", ".weight_packed")
        if ".experts." in n and n.endswith(".weight")
        else n: t
        for n, t in projection_first(tensors).items()
    }


def without_leaked_keys(tensors: Tensors) -> Tensors:
    """Take out what nvidia-modelopt <= 0.45 leaks, as public scripts do."""
    return {n: t for n, t in tensors.items() if "_quantizer." not in n}


def fused(separator: str, *, transposed: bool) -> Callable[[Tensors], Tensors]:
    """Return what puts all experts of a layer into one tensor, gate above up.

    Args:
        separator: Before ``weight_scale``: ``_`` or ``.``.
        transposed: [expert, input, output], as Llama 4 has them.
    """

    def change(tensors: Tensors) -> Tensors:
        one_by_one = re.compile(r"^(.*\.experts)\.(\d+)\.(\w+)_proj\.(\w+)$")
        experts: dict[tuple[str, str, str], dict[int, Tensor]] = {}
        kept: Tensors = {}
        for name, tensor in tensors.items():
            found = one_by_one.match(name)
            if found is None:
                kept[name] = tensor
            else:
                key = (found[1], found[3], found[4])
                experts.setdefault(key, {})[int(found[2])] = tensor
        for (module, projection, suffix), by_number in experts.items():
            if projection == "up":
                continue
            numbers = sorted(by_number)
            rows = [by_number[n] for n in numbers]
            if projection == "gate":
                ups = [experts[module, "up", suffix][n] for n in numbers]
                rows = [_above(g, u) for g, u in zip(rows, ups, strict=True)]
            name = f"{module}.{'gate_up' if projection == 'gate' else projection}_proj"
            if suffix != "weight":
                name = f"{name}{separator}{suffix}"
            elif separator == ".":
                name = f"{name}.weight"
            kept[name] = _stacked(rows, transposed=transposed)
        return kept

    return change


def _above(gate: Tensor, up: Tensor) -> Tensor:
    dtype, shape, data = gate
    if not shape:
        assert data == up[2], "gate and up have one scale in an export"
        return gate
    return dtype, [shape[0] + up[1][0], *shape[1:]], data + up[2]


def _stacked(rows: list[Tensor], *, transposed: bool) -> Tensor:
    dtype, shape, _ = rows[0]
    if len(shape) == 2 and transposed:
        parts = [np.frombuffer(r[2], np.uint8).reshape(shape).T for r in rows]
        stack = np.ascontiguousarray(np.stack(parts))
        return dtype, list(stack.shape), stack.tobytes()
    return dtype, [len(rows), *shape], b"".join(row[2] for row in rows)


def without_input_scales(tensors: Tensors) -> Tensors:
    """Take out the scales of all inputs; the config goes on claiming W4A4."""
    return {n: t for n, t in tensors.items() if not n.endswith(".input_scale")}
