"""The kernels of a plan beside stock vLLM's, for people to read."""

from nvfp4_serve.plan.types import Kernel, Plan


def kernel_lines(plan: Plan) -> list[str]:
    """Return a few lines for each part of the model; those that differ say so."""
    if not plan.kernels:
        return ["no kernels to choose: NVFP4 on a CPU has one, or nothing is known"]
    rows: list[tuple[str, ...]] = [
        ("part", "stored as", "given", "kernel", "stock vLLM")
    ]
    rows += [_row(kernel) for kernel in plan.kernels]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    for kernel in plan.kernels:
        lines += ["", f"{kernel.part} ({kernel.scheme})"]
        lines += [f"  {kernel.why}", f"  source: {kernel.source}"]
    return [line.rstrip() for line in lines]


def _row(kernel: Kernel) -> tuple[str, ...]:
    stock = "the same" if kernel.kernel == kernel.stock else kernel.stock
    return (kernel.part, kernel.scheme, kernel.backend, kernel.kernel, stock)
