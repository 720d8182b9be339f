"""Which modules vLLM puts into one layer. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from nvfp4_serve.checkpoint.evidence import Seen

#: Projections that vLLM puts into one layer; all of them are packed, or none.
_TOGETHER: Final = (
    frozenset({"q_proj", "k_proj", "v_proj"}),
    frozenset({"gate_proj", "up_proj"}),
)
_EXPERT: Final = re.compile(r"\.experts(\.|$)")


def ignored_names(seen: Seen) -> Iterator[str]:
    """Yield the layer of all experts, and any other module as it is."""
    if _EXPERT.search(seen.group.name):
        yield seen.group.name.partition(".experts")[0] + ".experts"
    else:
        yield from seen.group.members


def layer_of(seen: Seen) -> str:
    """Return the layer of vLLM's that the modules are a part of."""
    name = seen.group.name
    if _EXPERT.search(name):
        return next(ignored_names(seen))
    parent, _, own = name.rpartition(".")
    together = next((names for names in _TOGETHER if own in names), None)
    return f"{parent}.{'+'.join(sorted(together))}" if together else name
