"""Whether disk and memory can hold the work; the arithmetic is shown. Pure."""

from nvfp4_serve.checkpoint.modules import module_class
from nvfp4_serve.checkpoint.types import Checkpoint, Layout
from nvfp4_serve.errors import DoesNotFitError, UsageError
from nvfp4_serve.quantize.recipes import Recipe
from nvfp4_serve.units import GIB, format_bytes, format_count

#: Bits of a parameter in the largest and the smallest checkpoint that can come out.
_PLAIN_BITS, _PACKED_BITS = 16, 4.5


def require_plain(layout: Layout) -> None:
    """Refuse a model that is quantized already.

    Raises:
        UsageError: It is.
    """
    if layout.layout != "unquantized":
        schemes = ", ".join(f"{part} {word}" for part, word in layout.schemes.items())
        raise UsageError(
            f"`{layout.model}` is quantized already (layout {layout.layout}).",
            evidence=(schemes,),
            fix="Give the checkpoint that it was made from.",
        )


def packable(checkpoint: Checkpoint, recipe: Recipe) -> int | None:
    """Return how many parameters ``recipe`` packs at most; None where nobody knows.

    It goes by the names of the modules, and knows nothing of a model whose embeddings
    it does not find.
    """
    packed, is_known = 0, False
    for group in checkpoint.groups:
        label = module_class(group.name, layers=None)
        is_known = is_known or label == "embeddings"
        if label in recipe.packs:
            matrices = (t.elements for t in group.tensors if len(t.shape) > 1)
            packed += group.count * sum(matrices)
    return packed if is_known and packed else None


def require_room(
    layout: Layout, *, packed: int | None, disk: int, memory: int
) -> tuple[str, ...]:
    """Return the arithmetic, a line each, where the work may fit.

    Args:
        layout: Of the model that is to be quantized.
        packed: Parameters that the recipe packs at most; None where nobody knows.
        disk: Bytes that are free where the new checkpoint will be.
        memory: Bytes that a process may use here.

    Raises:
        DoesNotFitError: It cannot fit.
    """
    memory_needed, memory_line = _memory(layout, memory)
    disk_needed, disk_line = _disk(layout, packed, disk)
    if memory_needed > memory:
        raise DoesNotFitError(
            "This machine has too little memory to quantize the model.",
            evidence=(memory_line,),
            fix="Quantize it on a machine with more memory.",
        )
    if disk_needed > disk:
        raise DoesNotFitError(
            "The disk has too little space for the new checkpoint.",
            evidence=(disk_line,),
            fix="Free some space, or give an OUT on a larger disk.",
        )
    return memory_line, disk_line


def _memory(layout: Layout, available: int) -> tuple[int, str]:
    plain = int(layout.parameters * _PLAIN_BITS / 8)
    packed = int(layout.parameters * _PACKED_BITS / 8)
    overhead = 2 * GIB
    needed = plain + packed + overhead
    return needed, (
        f"memory: {format_bytes(plain)} for {format_count(layout.parameters)} "
        f"parameters in 16 bits + {format_bytes(packed)} for them packed "
        f"+ {format_bytes(overhead)} for Python, torch and the calibration "
        f"= {format_bytes(needed)}; {format_bytes(available)} are available"
    )


def _disk(layout: Layout, packed: int | None, free: int) -> tuple[int, str]:
    if packed is None:
        needed = int(layout.parameters * _PLAIN_BITS / 8)
        return needed, (
            f"disk: {format_bytes(needed)} if nothing is packed, since what is packed "
            f"of this model is not known; {format_bytes(free)} are free"
        )
    left = layout.parameters - packed
    small, large = int(packed * _PACKED_BITS / 8), int(left * _PLAIN_BITS / 8)
    return small + large, (
        f"disk: at least {format_bytes(small)} for {format_count(packed)} parameters "
        f"that may be packed + {format_bytes(large)} for {format_count(left)} that "
        f"stay in 16 bits, by the names of their modules "
        f"= {format_bytes(small + large)}; {format_bytes(free)} are free"
    )
