"""What a plan does not know of more than one machine. Pure."""

from collections.abc import Iterator
from typing import Final

from nvfp4_serve.finding import Finding, Severity

#: With these an engine is one of several. vLLM 0.32.0, config/parallel.py.
_SEVERAL: Final = ("--nnodes", "--node-rank", "--data-parallel-size-local")


def several_nodes(flags: frozenset[str]) -> Iterator[Finding]:
    """Yield that the sizes are those of this machine alone.

    Args:
        flags: All that were asked for.
    """
    if found := [name for name in _SEVERAL if name in flags]:
        yield Finding(
            "one-machine-counted",
            Severity.WARNING,
            f"`{found[0]}` is passed on, and the plan counts the GPUs and the memory "
            "of this machine alone.",
            "Check the sum for all machines yourself; a plan for several is not made "
            "yet.",
        )
