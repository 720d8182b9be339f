"""The ``vllm.general_plugins`` entry point; vLLM calls it in each of its processes."""

from __future__ import annotations

from nvfp4_serve_engine import parent_death

_registered = False


def register() -> None:
    """Put the adapter in front of vLLM's loaders; on the CPU, offer NVFP4 to it.

    vLLM may call this more than once in a process.
    """
    global _registered  # noqa: PLW0603  (vLLM's registries are per process, too)
    if _registered:
        return
    _registered = True
    parent_death.follow_engine()
    from vllm.platforms import current_platform

    from nvfp4_serve_engine import adapter

    adapter.install()
    if current_platform.is_cpu():
        _register_on_cpu()


def _register_on_cpu() -> None:
    from vllm.model_executor.kernels.linear import register_linear_kernel
    from vllm.model_executor.layers.fused_moe.oracle.nvfp4 import (
        register_nvfp4_experts,
    )
    from vllm.platforms import PlatformEnum

    from nvfp4_serve_engine.experts import EXPERTS
    from nvfp4_serve_engine.linear import CpuDequantizedNvFp4LinearKernel

    register_linear_kernel(CpuDequantizedNvFp4LinearKernel, PlatformEnum.CPU, "nvfp4")
    for experts in EXPERTS:
        register_nvfp4_experts(experts, PlatformEnum.CPU)
