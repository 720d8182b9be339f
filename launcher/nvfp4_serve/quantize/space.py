"""Whether disk and memory can hold the work; the arithmetic is shown. Pure."""

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError, UsageError
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


def require_room(layout: Layout, *, disk: int, memory: int) -> tuple[str, ...]:
    """Return the arithmetic, a line each, where the work may fit.

    Args:
        layout: Of the model that is to be quantized.
        disk: Bytes that are free where the new checkpoint will be.
        memory: Bytes that a process may use here.

    Raises:
        DoesNotFitError: It cannot fit.
    """
    plain = int(layout.parameters * _PLAIN_BITS / 8)
    packed = int(layout.parameters * _PACKED_BITS / 8)
    overhead = 2 * GIB
    needed = plain + packed + overhead
    memory_line = (
        f"memory: {format_bytes(plain)} for {format_count(layout.parameters)} "
        f"parameters in 16 bits + {format_bytes(packed)} for them packed "
        f"+ {format_bytes(overhead)} for Python, torch and the calibration "
        f"= {format_bytes(needed)}; {format_bytes(memory)} are available"
    )
    disk_line = (
        f"disk: {format_bytes(packed)} if all is packed, {format_bytes(plain)} if "
        f"nothing is; {format_bytes(disk)} are free"
    )
    if needed > memory:
        raise DoesNotFitError(
            "This machine has too little memory to quantize the model.",
            evidence=(memory_line,),
            fix="Quantize it on a machine with more memory.",
        )
    if packed > disk:
        raise DoesNotFitError(
            "The disk has too little space for the new checkpoint.",
            evidence=(disk_line,),
            fix="Free some space, or give an OUT on a larger disk.",
        )
    return memory_line, disk_line
