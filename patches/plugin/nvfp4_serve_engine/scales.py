"""Refuse NVFP4 scales that cannot be right. Torch only; no vLLM."""

from __future__ import annotations

import torch


class ScaleError(ValueError):
    """A scale of the checkpoint is missing or cannot be right."""

    def __init__(self, layer: str, faults: list[str]) -> None:
        shown = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(
            f"The NVFP4 scales of layer {layer} cannot be right.\n{shown}\n"
            "Fix: the checkpoint lacks these tensors or holds broken ones; "
            "export it again, or download it again. If the layer is not quantized "
            "in the checkpoint, add it to `ignore` (or `exclude_modules`) of its "
            "quantization config."
        )


def block_scale_faults(name: str, scale: torch.Tensor) -> list[str]:
    """Return what is wrong with block scales: NaN, which also marks "never loaded".

    Args:
        name: The tensor's name, for the message.
        scale: float8_e4m3fn of any shape.
    """
    # 0x7F and 0xFF are the only NaNs of E4M3; comparing bytes needs no float copy.
    wrong = int(((scale.view(torch.uint8) & 0x7F) == 0x7F).sum())
    if not wrong:
        return []
    return [f"{name}: {wrong} of {scale.numel()} values are NaN or were never loaded"]


def global_scale_faults(name: str, scale: torch.Tensor) -> list[str]:
    """Return what is wrong with global or input scales: not finite, or not above 0.

    Args:
        name: The tensor's name, for the message.
        scale: float32, one value a tensor, an expert or a shard.
    """
    flat = scale.detach().float().reshape(-1)
    wrong = (~(torch.isfinite(flat) & (flat > 0))).nonzero().reshape(-1).tolist()
    if not wrong:
        return []
    shown = ", ".join(f"[{index}] = {flat[index].item():g}" for index in wrong[:4])
    more = "" if len(wrong) <= 4 else f" and {len(wrong) - 4} more"
    return [f"{name}: {shown}{more}; each must be finite and above 0"]
