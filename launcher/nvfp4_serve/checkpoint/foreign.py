"""Names that no loader knows: which module has such a name, and what is in it. Pure.

``nvfp4_layouts`` says what becomes of them.
"""

from collections.abc import Mapping

from nvfp4_layouts.fused import packed_experts
from nvfp4_layouts.names import PROJECTION_FIRST
from nvfp4_layouts.types import Stored

from nvfp4_serve.checkpoint.encodings import Encoding, is_quantizer
from nvfp4_serve.checkpoint.types import ModuleGroup


def foreign_encoding(group: ModuleGroup) -> Encoding | None:
    """Return what is unusual in the names of ``group``; None: nothing is."""
    if is_quantizer(group):
        return Encoding.QUANTIZER_STATE
    if PROJECTION_FIRST.search(group.name):
        return Encoding.PROJECTION_FIRST
    if fused_tensors(group):
        return Encoding.FUSED
    if group.tensor("weight_packed") and group.tensor("weight_scale_2"):
        return Encoding.PACKED_NAME
    return None


def fused_tensors(group: ModuleGroup) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of what is stored of fused NVFP4 experts, by the full names."""
    if ".experts" not in group.name or not any(
        tensor.dtype == "U8" and len(tensor.shape) == 3 for tensor in group.tensors
    ):
        return {}
    tensors = {
        f"{group.name}.{tensor.suffix}": Stored(tensor.dtype, tensor.shape)
        for tensor in group.tensors
    }
    packed = packed_experts(tensors).values()
    return {name: tensors[name].shape for names in packed for name in names.values()}


def experts_of(module: str) -> str:
    """Return ``a.experts`` for ``a.experts`` and for ``a.experts.down_proj``."""
    head, found, _ = f"{module}.".partition(".experts.")
    return f"{head}.experts" if found else ""


def expert_first(module: str) -> str:
    """Return ``module`` with the number before the projection."""
    return PROJECTION_FIRST.sub(r".experts.\2.\1", module)
