"""NVFP4 linear layers on vLLM's CPU engine: dequantised once, when they are loaded."""

from __future__ import annotations

import torch
from vllm.logger import init_logger
from vllm.model_executor.kernels.linear import (
    NvFp4LinearKernel,
    NvFp4LinearLayerConfig,
)
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.platforms import current_platform

from nvfp4_serve_engine.dequantize import dequantize
from nvfp4_serve_engine.scales import (
    ScaleError,
    block_scale_faults,
    global_scale_faults,
)

# vLLM configures the loggers below its own name only.
logger = init_logger("vllm.nvfp4_serve_engine.linear")

#: What vLLM's NVFP4 methods leave on a layer and a plain weight does not need.
_NOT_NEEDED_ANY_MORE = (
    "weight_scale",
    "weight_global_scale",
    "weight_global_scale_by_shard",
    "input_scale",
    "input_global_scale",
    "input_global_scale_inv",
    "alpha",
)


class CpuDequantizedNvFp4LinearKernel(NvFp4LinearKernel):
    """Make a plain weight of the packed one, then be an unquantised linear layer.

    Activations are not quantised, as on a GPU without FP4 arithmetic (Marlin), so
    one kernel serves W4A4 and W4A16 checkpoints.
    """

    #: Read by the patch ``nvfp4-w4a16-registered-kernel``.
    serves_w4a16 = True

    def __init__(self, config: NvFp4LinearLayerConfig) -> None:
        super().__init__(config)
        # vLLM builds the model, and with it this kernel, under the model's dtype.
        self._dtype = torch.get_default_dtype()
        self._plain = UnquantizedLinearMethod()

    @classmethod
    def is_supported(
        cls, compute_capability: int | None = None
    ) -> tuple[bool, str | None]:
        del compute_capability
        if current_platform.is_cpu():
            return True, None
        return False, "it serves the CPU platform only"

    @classmethod
    def can_implement(cls, config: NvFp4LinearLayerConfig) -> tuple[bool, str | None]:
        del config
        return True, None

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Replace the packed weight of ``layer`` and its scales by a plain weight.

        Raises:
            ScaleError: A scale is missing or cannot be right.
        """
        refuse_bad_scales(layer)
        rows, half = layer.weight.shape
        weight = torch.empty(rows, 2 * half, dtype=self._dtype)
        scale = _global_scale_by_row(layer, rows)
        dequantize(layer.weight.data, layer.weight_scale.data, scale, out=weight)
        for name in _NOT_NEEDED_ANY_MORE:
            if hasattr(layer, name):
                delattr(layer, name)
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        logger.info_once(
            "NVFP4 weights are dequantised once at load to %s; "
            "activations are not quantised on this CPU.",
            self._dtype,
        )
        self._plain.process_weights_after_loading(layer)

    def apply_weights(
        self,
        layer: torch.nn.Module,
        x: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self._plain.apply(layer, x, bias)


def refuse_bad_scales(layer: torch.nn.Module) -> None:
    """Raise ``ScaleError`` when a scale of a linear layer cannot be right."""
    faults = block_scale_faults("weight_scale", layer.weight_scale.data)
    faults += global_scale_faults(
        "weight_scale_2 (by shard)", layer.weight_global_scale_by_shard
    )
    if hasattr(layer, "input_global_scale"):  # W4A4
        faults += global_scale_faults("input_scale", layer.input_global_scale)
    if faults:
        raise ScaleError(layer.prefix, faults)


def _global_scale_by_row(layer: torch.nn.Module, rows: int) -> torch.Tensor:
    """Return the global scale of each row, float32 [rows].

    A fused layer (q, k and v; gate and up) has one global scale a shard. vLLM's
    kernels take the largest for all, which is wrong where they differ.
    """
    by_shard = layer.weight_global_scale_by_shard
    widths = torch.tensor(layer.logical_widths)
    return torch.repeat_interleave(by_shard, widths, output_size=rows)
