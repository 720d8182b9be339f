"""NVFP4 on the CPU for published vLLM, and nothing else of ours.

It stands for the kernels that published vLLM has on a GPU: it takes the scales that
vLLM gives it, as they are, and checks none of them.
"""

from __future__ import annotations


def register() -> None:
    """Offer the kernels to vLLM; vLLM calls this in each of its processes."""
    import torch
    from nvfp4_serve_engine import experts, linear
    from vllm.model_executor.kernels.linear import register_linear_kernel
    from vllm.model_executor.layers.fused_moe.oracle import nvfp4
    from vllm.platforms import PlatformEnum

    class _OneGlobalScale(linear.CpuDequantizedNvFp4LinearKernel):
        def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
            # What vLLM gives to every kernel: the largest of the shards.
            shards = len(layer.logical_widths)
            layer.weight_global_scale_by_shard = layer.weight_global_scale.repeat(
                shards
            )
            super().process_weights_after_loading(layer)

    def take_any(layer: torch.nn.Module) -> None:
        """Check nothing, as published vLLM does."""
        del layer

    linear.refuse_bad_scales = take_any
    experts.refuse_bad_scales = take_any
    register_linear_kernel(_OneGlobalScale, PlatformEnum.CPU, "nvfp4")
    for kind in experts.EXPERTS:
        nvfp4.register_nvfp4_experts(kind, PlatformEnum.CPU)
