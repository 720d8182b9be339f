"""Checkpoints that were never read: names, dtypes and shapes -> facts."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nvfp4_serve.checkpoint.census import Census
from nvfp4_serve.checkpoint.facts_text import facts_text
from nvfp4_serve.checkpoint.header import Dtype, Entry
from nvfp4_serve.checkpoint.nvfp4 import DTYPE_BITS
from nvfp4_serve.checkpoint.types import Checkpoint

#: Name, dtype, shape.
Tensor = tuple[str, Dtype, tuple[int, ...]]


def construct(
    model: str,
    tensors: Iterable[Tensor],
    *,
    config: Mapping[str, Any],
    legacy: Mapping[str, Any] | None = None,
    sources: tuple[str, ...],
) -> Checkpoint:
    """Return the checkpoint that has these tensors."""
    header, cursor = {}, 0
    for name, dtype, shape in tensors:
        end = cursor + size((name, dtype, shape))
        assert name not in header, name
        header[name] = Entry(dtype, shape, (cursor, end))
        cursor = end
    census = Census()
    assert census.add(header, body=cursor)
    return Checkpoint(
        model=model,
        folder=None,
        revision=None,
        config=config,
        hf_quant_config=legacy,
        groups=census.groups(),
        notes=(),
        constructed=sources,
    )


def write(name: str, checkpoint: Checkpoint) -> None:
    """Write the facts beside this file."""
    text = facts_text(checkpoint)
    (Path(__file__).parent / f"{name}.json").write_text(text + "\n")


def size(tensor: Tensor) -> int:
    """Return its bytes."""
    _, dtype, shape = tensor
    return int(DTYPE_BITS[dtype] * math.prod(shape) // 8)


def plain(name: str, *shape: int) -> Iterator[Tensor]:
    yield f"{name}.weight", "BF16", shape


def modelopt(
    name: str, rows: int, cols: int, *, inputs: bool = True
) -> Iterator[Tensor]:
    """NVFP4 as ModelOpt 0.47.0 exports it."""
    yield f"{name}.weight", "U8", (rows, cols // 2)
    yield f"{name}.weight_scale", "F8_E4M3", (rows, cols // 16)
    yield f"{name}.weight_scale_2", "F32", ()
    if inputs:
        yield f"{name}.input_scale", "F32", ()


def modelopt_fp8(name: str, rows: int, cols: int) -> Iterator[Tensor]:
    """FP8 with one scale, as ModelOpt 0.47.0 exports it."""
    yield f"{name}.weight", "F8_E4M3", (rows, cols)
    yield f"{name}.weight_scale", "F32", ()
    yield f"{name}.input_scale", "F32", ()


def compressed(name: str, rows: int, cols: int) -> Iterator[Tensor]:
    """NVFP4 as llm-compressor 0.14 writes it."""
    yield f"{name}.weight_packed", "U8", (rows, cols // 2)
    yield f"{name}.weight_scale", "F8_E4M3", (rows, cols // 16)
    yield f"{name}.weight_global_scale", "F32", (1,)
    yield f"{name}.input_global_scale", "F32", (1,)
