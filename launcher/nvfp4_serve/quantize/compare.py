"""What the recipe meant to quantize, against what the headers hold. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from nvfp4_serve.checkpoint.nvfp4 import NVFP4_BLOCK, scale_block
from nvfp4_serve.checkpoint.types import Checkpoint, Layout, ModuleGroup
from nvfp4_serve.errors import QuantizeError
from nvfp4_serve.quantize.types import Meant

#: The number of an expert; the groups of a checkpoint have ``*`` in its place.
_EXPERT: Final = re.compile(r"(?<=\.experts\.)\d+(?=\.)")
#: Parts that transformers may drop without a word when it loads a model.
_DROPPED: Final = ("mtp", "vision")
#: Lines of an error; the rest is counted.
_SHOWN: Final = 20


def require_packed(meant: Iterable[Meant], checkpoint: Checkpoint) -> int:
    """Return how many modules were meant; every one of them is packed.

    Raises:
        QuantizeError: Some are not, and are named; or nothing was meant at all.
    """
    wanted = Counter((_folded(m.name), m.inputs) for m in meant)
    if not wanted:
        raise QuantizeError(
            "The recipe quantizes nothing of this model.",
            fix="Take a recipe whose patterns fit the model's names.",
        )
    faults = [
        _fault(name, count, checkpoint, inputs=inputs)
        for (name, inputs), count in sorted(wanted.items())
        if _packed(name, checkpoint, inputs=inputs) < count
    ]
    if faults:
        more = len(faults) - _SHOWN
        shown = (*faults[:_SHOWN], *((f"and {more} more",) if more > 0 else ()))
        raise QuantizeError(
            f"ModelOpt ended without an error, and {len(faults)} kinds of modules that "
            "the recipe means to quantize are not NVFP4 in what it wrote.",
            evidence=shown,
            fix="This is a bug of ModelOpt's with this model; do not serve what it "
            "wrote. A recipe that leaves these modules alone may work.",
        )
    return sum(wanted.values())


def lost_parts(plain: Layout, made: Layout) -> tuple[str, ...]:
    """Return the parts of the plain model that the new checkpoint does not have."""
    return tuple(
        part for part in _DROPPED if part in plain.schemes and part not in made.schemes
    )


def _folded(name: str) -> str:
    return _EXPERT.sub("*", name)


def _packed(name: str, checkpoint: Checkpoint, *, inputs: bool) -> int:
    groups = [group for group in checkpoint.groups if group.name == name]
    return sum(group.count for group in groups if not _lacks(group, inputs=inputs))


def _lacks(group: ModuleGroup, *, inputs: bool) -> list[str]:
    """Return what a module lacks to be NVFP4 as vLLM loads it."""
    weight, scale = group.tensor("weight"), group.tensor("weight_scale")
    if weight is None or weight.dtype != "U8":
        found = ", ".join(f"{t.suffix} {t.dtype}" for t in group.tensors)
        return [f"no packed weight ({found})"]
    lacks = []
    if scale is None or scale.dtype != "F8_E4M3":
        lacks.append("no block scales")
    elif scale_block(weight.shape, scale.shape) != NVFP4_BLOCK:
        lacks.append(f"its block scales {list(scale.shape)} are not for blocks of 16")
    lacks += _lacks_one_number(group, "weight_scale_2", "global scale")
    if inputs:
        lacks += _lacks_one_number(group, "input_scale", "input scale")
    return lacks


def _lacks_one_number(group: ModuleGroup, suffix: str, what: str) -> list[str]:
    tensor = group.tensor(suffix)
    if tensor is None:
        return [f"no {what}"]
    if tensor.dtype != "F32" or tensor.elements != 1:
        found = f"{tensor.dtype} {list(tensor.shape)}"
        return [f"its {what} {suffix} is {found}, not one F32 number"]
    return []


def _fault(name: str, count: int, checkpoint: Checkpoint, *, inputs: bool) -> str:
    packed = _packed(name, checkpoint, inputs=inputs)
    said = f"{name}: {packed} of {count} packed" if count > 1 else name
    return f"{said}; {'; '.join(_seen(name, checkpoint, inputs=inputs))}"


def _seen(name: str, checkpoint: Checkpoint, *, inputs: bool) -> Iterator[str]:
    """Yield what stands in the checkpoint instead."""
    found = False
    for group in checkpoint.groups:
        if group.name == name:
            found = True
            if lacks := _lacks(group, inputs=inputs):
                yield f"`{group.example}` has {', '.join(lacks)}"
    if found:
        return
    container = name.partition(".experts.")[0] + ".experts"
    for group in checkpoint.groups:
        if ".experts." in name and group.name == container:
            held = ", ".join(f"{t.suffix} {t.dtype}" for t in group.tensors)
            yield f"`{container}` holds {held}"
            return
    yield "nothing of that name was written"
