"""Names that no loader knows: which module has such a name, and what is in it. Pure.

``nvfp4_layouts`` says what becomes of them.
"""

import re
from collections.abc import Iterator
from typing import Final

from nvfp4_serve.checkpoint.encodings import Encoding
from nvfp4_serve.checkpoint.types import ModuleGroup, StoredTensor

_PROJECTIONS: Final = "gate_up_proj|gate_proj|up_proj|down_proj"
_FUSED_MODULE: Final = re.compile(rf"\.experts(\.({_PROJECTIONS}))?$")
_FUSED_TENSOR: Final = re.compile(rf"^({_PROJECTIONS})(_weight|_weight_packed)?$")
_PROJECTION_FIRST: Final = re.compile(r"\.experts\.([a-z]\w*)\.(\d+|\*)(?=\.|$)")
_QUANTIZER: Final = re.compile(r"(^|\.)\w+_quantizer$")


def foreign_encoding(group: ModuleGroup) -> Encoding | None:
    """Return what is unusual in the names of ``group``; None: nothing is."""
    if is_quantizer(group.name):
        return Encoding.QUANTIZER_STATE
    if _PROJECTION_FIRST.search(group.name):
        return Encoding.PROJECTION_FIRST
    if any(fused_weights(group)):
        return Encoding.FUSED
    if group.tensor("weight_packed") and group.tensor("weight_scale_2"):
        return Encoding.PACKED_NAME
    return None


def is_quantizer(module: str) -> bool:
    """Return whether ``module`` is a quantizer of ModelOpt's, and holds its state."""
    return _QUANTIZER.search(module) is not None


def fused_weights(group: ModuleGroup) -> Iterator[StoredTensor]:
    """Yield the packed weights that hold all experts."""
    found = _FUSED_MODULE.search(group.name)
    if found is None:
        return
    for tensor in group.tensors:
        is_weight = (
            tensor.suffix in ("weight", "weight_packed")
            if found[2]
            else _FUSED_TENSOR.match(tensor.suffix) is not None
        )
        if is_weight and tensor.dtype == "U8" and len(tensor.shape) == 3:
            yield tensor


def experts_of(module: str) -> str:
    """Return ``a.experts`` for ``a.experts`` and for ``a.experts.down_proj``."""
    head, found, _ = f"{module}.".partition(".experts.")
    return f"{head}.experts" if found else ""


def expert_first(module: str) -> str:
    """Return ``module`` with the number before the projection."""
    return _PROJECTION_FIRST.sub(r".experts.\2.\1", module)
