"""See what the plugin does, without a model; run it with a patched engine's Python.

Usage: python plugin_probes.py CASES.npz REPORT.json

CASES.npz holds ``packed_N``, ``block_N`` (E4M3 codes) and ``global_N`` (a row each)
for N = 0, 1, …; the report holds the dequantised bits of each in base 64, and what
the other probes saw.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvfp4_serve_engine import dequantize as arithmetic
from nvfp4_serve_engine import plugin
from vllm import platforms
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.model_executor.kernels import linear
from vllm.model_executor.layers.fused_moe.oracle import nvfp4 as oracle


def dequantised(cases: Any, values_at_a_time: int) -> list[str]:
    """Return the bfloat16 bits of each case, by the plugin's arithmetic."""
    arithmetic._VALUES_AT_A_TIME = values_at_a_time
    bits = []
    for number in range(len(cases) // 3):
        packed = torch.from_numpy(cases[f"packed_{number}"])
        block = torch.from_numpy(cases[f"block_{number}"]).view(torch.float8_e4m3fn)
        scale = torch.from_numpy(cases[f"global_{number}"])
        out = torch.empty(len(packed), 2 * packed.shape[1], dtype=torch.bfloat16)
        arithmetic.dequantize(packed, block, scale, out=out)
        raw = out.view(torch.int16).numpy().tobytes()
        bits.append(base64.b64encode(raw).decode("ascii"))
    return bits


def registered_on(platform: platforms.PlatformEnum) -> list[str]:
    """Return what the plugin registers where ``platform`` is the current one."""
    kernels = linear._POSSIBLE_NVFP4_KERNELS
    kept_kernels = {key: list(value) for key, value in kernels.items()}
    kept_experts = dict(oracle._REGISTERED_NVFP4_EXPERTS)
    kept_platform = platforms.current_platform
    oracle._REGISTERED_NVFP4_EXPERTS.clear()
    before = [kernel for row in kernels.values() for kernel in row]
    platforms.current_platform = _simulated(platform)
    plugin._registered = False
    try:
        plugin.register()
        plugin.register()  # vLLM may call it again
        after = [kernel for row in kernels.values() for kernel in row]
        new = [kernel.__name__ for kernel in after if kernel not in before]
        for row in oracle._REGISTERED_NVFP4_EXPERTS.values():
            new += [experts.__name__ for experts in row]
    finally:
        platforms.current_platform = kept_platform
        kernels.clear()
        kernels.update(kept_kernels)
        oracle._REGISTERED_NVFP4_EXPERTS.clear()
        oracle._REGISTERED_NVFP4_EXPERTS.update(kept_experts)
    return new


def _simulated(platform: platforms.PlatformEnum) -> platforms.Platform:
    class Simulated(platforms.Platform):  # type: ignore[misc]
        _enum = platform
        device_name = platform.name.lower()
        device_type = platform.name.lower()

    return Simulated()


def cpu_kernel_elsewhere() -> list[object]:
    """Return what our linear kernel says of itself where CUDA is the platform."""
    from nvfp4_serve_engine import linear as ours

    module: Any = ours
    kept = module.current_platform
    module.current_platform = _simulated(platforms.PlatformEnum.CUDA)
    try:
        return list(ours.CpuDequantizedNvFp4LinearKernel.is_supported())
    finally:
        module.current_platform = kept


def refused(change: Any) -> str:
    """Return the error of a two-shard linear layer after ``change``, or "loaded"."""
    from nvfp4_serve_engine.linear import CpuDequantizedNvFp4LinearKernel

    layer = torch.nn.Module()
    layer.prefix = "model.layers.0.self_attn.qkv_proj"
    layer.logical_widths = [32, 16]
    layer.weight = torch.nn.Parameter(
        torch.full((48, 32), 0x22, dtype=torch.uint8), requires_grad=False
    )
    layer.weight_scale = torch.ones(48, 4).to(torch.float8_e4m3fn)
    layer.weight_global_scale_by_shard = torch.tensor([0.25, 0.5])
    layer.input_global_scale = torch.tensor(0.1)
    change(layer)
    kernel = CpuDequantizedNvFp4LinearKernel(linear.NvFp4LinearLayerConfig())
    try:
        kernel.process_weights_after_loading(layer)
    except ValueError as error:
        return str(error)
    x = torch.eye(64, dtype=torch.get_default_dtype())
    out = kernel.apply_weights(layer, x, torch.ones(48))
    rows = sorted(set(out[0].tolist()))
    return f"loaded: {rows}"


def refused_experts(change: Any) -> str:
    """Return the error of an experts layer after ``change``, or "accepted"."""
    from nvfp4_serve_engine import experts

    layer = torch.nn.Module()
    layer.layer_name = "model.layers.3.mlp.experts"
    for name, shape in (("w13", (2, 64, 4)), ("w2", (2, 64, 2))):
        scale = torch.empty(shape).to(torch.float8_e4m3fn)
        setattr(layer, f"{name}_weight_scale", torch.nn.Parameter(scale, False))
    for name in experts._WEIGHT_SCALES[2:] + experts._INPUT_SCALES:
        setattr(layer, name, torch.nn.Parameter(torch.ones(2), False))
    experts.EXPERTS[-1].weights_created(layer)
    for name in experts._WEIGHT_SCALES + experts._INPUT_SCALES:
        getattr(layer, name).data.fill_(1.0)
    change(layer)
    try:
        experts.refuse_bad_scales(layer)
    except ValueError as error:
        return str(error)
    return "accepted"


def _set(name: str, value: float, at: Any = 0) -> Any:
    def change(layer: torch.nn.Module) -> None:
        getattr(layer, name).data.view(-1)[at] = value

    return change


def main(cases: Path, report: Path) -> None:
    """Run everything and write what was seen."""
    nan, inf = float("nan"), float("inf")
    told: dict[str, Any] = {
        "dequantised": dequantised(np.load(cases), 8 * 1024 * 1024),
        "dequantised in pieces": dequantised(np.load(cases), 64),
        "registered": {
            name: registered_on(platforms.PlatformEnum[name])
            for name in ("CPU", "CUDA", "ROCM", "XPU", "TPU", "OOT")
        },
        "elsewhere": cpu_kernel_elsewhere(),
        "linear": {
            "right": refused(lambda _: None),
            "block scale": refused(_set("weight_scale", nan, 5)),
            "global scale nan": refused(_set("weight_global_scale_by_shard", nan, 1)),
            "global scale zero": refused(_set("weight_global_scale_by_shard", 0.0)),
            "input scale": refused(_set("input_global_scale", inf)),
        },
        "experts": {
            "right": refused_experts(lambda _: None),
            "never loaded": refused_experts(_set("w2_weight_scale_2", nan, 1)),
            "block scale": refused_experts(_set("w13_weight_scale", nan, 7)),
            "input scale": refused_experts(_set("w13_input_scale", -1.0)),
        },
    }
    report.write_text(json.dumps(told))


if __name__ == "__main__":
    with set_current_vllm_config(VllmConfig()):
        main(Path(sys.argv[1]), Path(sys.argv[2]))
