"""NVFP4 routed experts on vLLM's CPU engine: dequantised once, when they are loaded."""

from __future__ import annotations

import math
from typing import Any

import torch
import vllm.model_executor.layers.fused_moe.modular_kernel as mk
from vllm.logger import init_logger
from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig
from vllm.model_executor.layers.fused_moe.oracle.unquantized import (
    UnquantizedMoeBackend,
    backend_to_kernel_cls,
)
from vllm.model_executor.layers.quantization.utils.quant_utils import (
    QuantKey,
    kNvfp4Dynamic,
    kNvfp4Static,
)
from vllm.model_executor.utils import replace_parameter

from nvfp4_serve_engine.dequantize import dequantize
from nvfp4_serve_engine.scales import (
    ScaleError,
    block_scale_faults,
    global_scale_faults,
)

logger = init_logger("vllm.nvfp4_serve_engine.experts")

_WEIGHT_SCALES = (
    "w13_weight_scale",
    "w2_weight_scale",
    "w13_weight_scale_2",
    "w2_weight_scale_2",
)
_INPUT_SCALES = ("w13_input_scale", "w2_input_scale")
#: compressed-tensors' own names of the global scales, before vLLM inverts them.
_DIVISORS = (
    "w13_weight_global_scale",
    "w2_weight_global_scale",
    "w13_input_global_scale",
    "w2_input_global_scale",
)


class _DequantizedOnce:
    """What turns one of vLLM's unquantised CPU experts into NVFP4 ones.

    Mixed in before the vLLM class. Activations are not quantised, so one class
    serves W4A4 and W4A16 checkpoints.
    """

    @staticmethod
    def _supports_quant_scheme(
        weight_key: QuantKey | None, activation_key: QuantKey | None
    ) -> bool:
        return weight_key == kNvfp4Static and activation_key in (None, kNvfp4Dynamic)

    @staticmethod
    def is_supported_config(
        cls: type[mk.FusedMoEExperts],  # noqa: PLW0211  (vLLM passes it by hand)
        moe_config: FusedMoEConfig,
        weight_key: QuantKey | None,
        activation_key: QuantKey | None,
        activation_format: mk.FusedMoEActivationFormat,
    ) -> tuple[bool, str | None]:
        if moe_config.swiglu_limit is not None:
            # vLLM 0.32.0, ``cpu_fused_moe``: it takes no limit, and would answer
            # wrongly without a word.
            limit = moe_config.swiglu_limit
            return False, f"kernel does not clamp SwiGLU (swiglu_limit={limit})"
        # ``super()`` looks at ``cls`` here, which vLLM passes by hand.
        plain: Any = super()
        supported: tuple[bool, str | None] = plain.is_supported_config(
            cls, moe_config, weight_key, activation_key, activation_format
        )
        return supported

    @staticmethod
    def weights_created(layer: torch.nn.Module) -> None:
        """Mark every scale of ``layer`` as not loaded, with NaN.

        vLLM allocates them with ``torch.empty``; one that the checkpoint lacks
        would pass for a real one. Called by the patch ``nvfp4-unloaded-scales``.
        """
        for name in _WEIGHT_SCALES + _INPUT_SCALES + _DIVISORS:
            if hasattr(layer, name):
                getattr(layer, name).data.fill_(math.nan)

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Replace the packed weights and their scales by plain weights.

        Raises:
            ScaleError: A scale is missing or cannot be right.
        """
        refuse_bad_scales(layer)
        dtype = self.moe_config.in_dtype  # type: ignore[attr-defined]
        for name in ("w13_weight", "w2_weight"):
            _dequantize_experts(layer, name, dtype)
        for name in _WEIGHT_SCALES + _INPUT_SCALES + _DIVISORS:
            if hasattr(layer, name):
                delattr(layer, name)
        logger.info_once("Using %s for NVFP4 MoE", type(self).__name__)
        logger.info_once(
            "NVFP4 experts are dequantised once at load to %s; "
            "activations are not quantised on this CPU.",
            dtype,
        )
        super().process_weights_after_loading(layer)  # type: ignore[misc]


def refuse_bad_scales(layer: torch.nn.Module) -> None:
    """Raise ``ScaleError`` when a scale of an experts layer cannot be right."""
    faults = []
    for name in ("w13_weight_scale", "w2_weight_scale"):
        faults += block_scale_faults(name, getattr(layer, name).data)
    for name in ("w13_weight_scale_2", "w2_weight_scale_2", *_INPUT_SCALES):
        scale = getattr(layer, name)
        if scale is not None:  # W4A16 has no input scales
            faults += global_scale_faults(f"{name} (by expert)", scale)
    if faults:
        raise ScaleError(layer.layer_name, faults)


def _dequantize_experts(layer: torch.nn.Module, name: str, dtype: torch.dtype) -> None:
    """Replace the packed weight ``name`` by a plain one, expert by expert.

    ============  ====================  =================================
    tensor        shape                 dtype
    ============  ====================  =================================
    packed        [experts, rows, c/2]  uint8
    block scale   [experts, rows, c/16] float8_e4m3fn
    global scale  [experts, shards]     float32; w13 has a gate and an up
    plain         [experts, rows, c]    ``dtype``
    ============  ====================  =================================
    """
    packed = getattr(layer, name).data
    block_scale = getattr(layer, f"{name}_scale").data
    experts, rows, half = packed.shape
    global_scale = getattr(layer, f"{name}_scale_2").data.reshape(experts, -1)
    by_row = global_scale.repeat_interleave(rows // global_scale.shape[1], dim=1)
    plain = torch.empty(experts, rows, 2 * half, dtype=dtype)
    for expert in range(experts):
        dequantize(
            packed[expert], block_scale[expert], by_row[expert], out=plain[expert]
        )
    replace_parameter(layer, name, plain)


#: One for each of vLLM's unquantised CPU experts, in vLLM's order: the first that
#: supports the machine and the layer is taken.
EXPERTS: tuple[type[mk.FusedMoEExperts], ...] = tuple(
    type(f"Nvfp4{plain.__name__}", (_DequantizedOnce, plain), {"__module__": __name__})
    for plain in backend_to_kernel_cls(UnquantizedMoeBackend.CPU)
)
