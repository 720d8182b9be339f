"""Declares torchvision's operators. It is put beside torchvision in a test's engine.

PyPI's torchvision is built for CUDA. Beside a CPU build of torch its library of
operators cannot be loaded, and its Python part then stops at the first one missing.
vLLM needs none of them for text; a declaration is enough.
"""

from __future__ import annotations

from torch.library import Library

_LIBRARY = Library("torchvision", "DEF")
_FORWARD = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": "(Tensor input, Tensor rois, float spatial_scale, SymInt "
    "pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool": "(Tensor input, Tensor rois, float spatial_scale, SymInt "
    "pooled_height, SymInt pooled_width) -> (Tensor, Tensor)",
    "ps_roi_align": "(Tensor input, Tensor rois, float spatial_scale, SymInt "
    "pooled_height, SymInt pooled_width, int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool": "(Tensor input, Tensor rois, float spatial_scale, SymInt "
    "pooled_height, SymInt pooled_width) -> (Tensor, Tensor)",
    "deform_conv2d": "(Tensor input, Tensor weight, Tensor offset, Tensor mask, "
    "Tensor bias, SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, "
    "SymInt dil_h, SymInt dil_w, SymInt groups, SymInt offset_groups, bool use_mask) "
    "-> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
#: Nobody calls them here; only the names have to be there.
_BACKWARD = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")

for name, arguments in _FORWARD.items():
    _LIBRARY.define(f"{name}{arguments}")
for name in _BACKWARD:
    _LIBRARY.define(f"_{name}_backward(Tensor grad) -> Tensor")
