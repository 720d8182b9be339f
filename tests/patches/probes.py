"""See whether vLLM shows the bugs of our patches; run it with an engine's Python.

Usage: python probes.py REPORT.json

Each probe returns "right", or a sentence that says what it met. No model is loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import vllm.model_executor.layers.fused_moe.oracle.nvfp4 as oracle
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.model_executor.kernels import linear
from vllm.model_executor.layers.quantization import modelopt
from vllm.model_executor.layers.quantization.compressed_tensors.schemes import (
    compressed_tensors_w4a4_nvfp4 as compressed,
)
from vllm.platforms import current_platform

ROWS, COLS = 48, 64


class _Kernel(linear.NvFp4LinearKernel):  # type: ignore[misc]
    """A kernel that a platform could bring: it does nothing."""

    serves_w4a16 = True

    @classmethod
    def is_supported(cls, _: int | None = None) -> Any:
        return True, None

    @classmethod
    def can_implement(cls, _: Any) -> Any:
        return True, None

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        pass

    def apply_weights(self, layer: Any, x: Any, bias: Any = None) -> Any:
        raise NotImplementedError


def cli_distribution_name() -> str:
    """`vllm --version` must tell the version, under whatever name vLLM is installed."""
    command = [sys.executable, "-I", "-m", "vllm.entrypoints.cli.main", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout.strip().startswith("0.32.0"):
        return "right"
    return f"vllm --version: {(done.stderr or done.stdout).strip().splitlines()[-1]}"


def nvfp4_registered_experts() -> str:
    """Experts that were registered for this platform must be taken for NVFP4 layers."""
    if not hasattr(oracle, "register_nvfp4_experts"):
        return "there is no way to register NVFP4 experts"
    from vllm.model_executor.layers.fused_moe.experts import cpu_moe

    class Experts(cpu_moe.CPUUnquantizedExperts):  # type: ignore[misc]
        @staticmethod
        def is_supported_config(*_: Any) -> tuple[bool, None]:
            return True, None

    others = dict(oracle._REGISTERED_NVFP4_EXPERTS)
    oracle._REGISTERED_NVFP4_EXPERTS.clear()
    try:
        oracle.register_nvfp4_experts(Experts, current_platform._enum)
        backend, taken = oracle.select_nvfp4_moe_backend(
            _moe_config(), modelopt.kNvfp4Static, modelopt.kNvfp4Dynamic
        )
    finally:
        oracle._REGISTERED_NVFP4_EXPERTS.clear()
        oracle._REGISTERED_NVFP4_EXPERTS.update(others)
    return "right" if taken is Experts else f"{backend} and {taken} were taken"


def _moe_config() -> Any:
    return SimpleNamespace(
        moe_backend="auto",
        swiglu_limit=None,
        moe_parallel_config=SimpleNamespace(use_batched_activation_format=False),
    )


def nvfp4_w4a16_registered_kernel() -> str:
    """A registered kernel that serves W4A16 must be taken for a W4A16 layer."""
    kernels = linear._POSSIBLE_NVFP4_KERNELS
    before = list(kernels.get(current_platform._enum, []))
    kernels[current_platform._enum] = [_Kernel]
    try:
        taken = linear.init_nvfp4_linear_kernel(use_a16=True)
    except ValueError as error:
        return f"ValueError: {error}"
    finally:
        kernels[current_platform._enum] = before
    return "right" if type(taken) is _Kernel else f"{taken} was taken"


def _modelopt_layer() -> torch.nn.Module:
    """Return a fused layer of two shards, its parameters as vLLM creates them."""
    layer = torch.nn.Module()
    shapes = modelopt.Shapes([32, 16], COLS, torch.bfloat16)
    context = modelopt.CkptCtx(group_size=16)
    # What torch.empty gives is whatever was there; make that a plausible number.
    with _plausible_empty():
        modelopt.KNvfp4Static().create_weights(
            layer, modelopt.WEIGHT, context, shapes, _load
        )
        modelopt.KNvfp4Dynamic().create_weights(
            layer, modelopt.ACT, context, shapes, _load
        )
    return layer


def _compressed_layer() -> tuple[Any, torch.nn.Module]:
    before = linear._POSSIBLE_NVFP4_KERNELS.get(current_platform._enum, [])
    linear._POSSIBLE_NVFP4_KERNELS[current_platform._enum] = [_Kernel]
    try:
        scheme = compressed.CompressedTensorsW4A4Fp4()
    finally:
        linear._POSSIBLE_NVFP4_KERNELS[current_platform._enum] = list(before)
    layer = torch.nn.Module()
    with _plausible_empty():
        scheme.create_weights(layer, [32, 16], COLS, torch.bfloat16, _load)
    return scheme, layer


def _load(*_: Any) -> None:
    raise NotImplementedError


class _plausible_empty:  # noqa: N801  (used as a function)
    """Let torch.empty give ones, as it may."""

    def __enter__(self) -> None:
        self._empty = torch.empty
        torch.empty = torch.ones

    def __exit__(self, *_: object) -> None:
        torch.empty = self._empty


def nvfp4_shard_global_scales() -> str:
    """The global scales of all shards must be there when a kernel is called."""
    layer = _modelopt_layer()
    layer.weight_scale.data.fill_(1.0)
    layer.weight_scale_2.data.copy_(torch.tensor([0.25, 0.5]))
    modelopt.KNvfp4Static().process(layer, modelopt.WEIGHT)
    scheme, other = _compressed_layer()
    other.weight_global_scale.data.copy_(torch.tensor([4.0, 2.0]))
    scheme.process_weights_after_loading(other)
    for kind, which in (("ModelOpt", layer), ("compressed-tensors", other)):
        kept = getattr(which, "weight_global_scale_by_shard", None)
        if kept is None or kept.tolist() != [0.25, 0.5]:
            return f"{kind}: only {float(which.weight_global_scale)} is left"
    return "right"


def nvfp4_unloaded_scales() -> str:
    """A scale that nothing was loaded into must be NaN, not a plausible number."""
    _, other = _compressed_layer()
    wanted = {
        "ModelOpt": (_modelopt_layer(), ("weight_scale_2", "input_scale")),
        "compressed-tensors": (
            other,
            ("weight_scale", "weight_global_scale", "input_global_scale"),
        ),
    }
    for kind, (layer, names) in wanted.items():
        for name in names:
            if not torch.isnan(getattr(layer, name).data.float()).all():
                return f"{kind}: {name} passes for loaded"
    return _unloaded_experts()


def _unloaded_experts() -> str:
    """Experts that were registered must be told of their layer's parameters."""
    told: list[torch.nn.Module] = []
    method = object.__new__(modelopt.ModelOptNvFp4FusedMoE)
    method.quant_config = SimpleNamespace(
        is_checkpoint_nvfp4_serialized=True, group_size=16
    )
    method.moe = SimpleNamespace(is_act_and_mul=True)
    method.use_global_sf = False
    method.nvfp4_backend = oracle.NvFp4MoeBackend.REGISTERED
    method.experts_cls = SimpleNamespace(weights_created=told.append)
    layer = torch.nn.Module()
    method.create_weights(
        layer, 2, COLS, 32, torch.bfloat16, weight_loader=_load, global_num_experts=2
    )
    return "right" if told == [layer] else "the experts were not told"


def engine_core_plugins_first() -> str:
    """Plugins must be loaded when the engine core comes to its handshake."""
    from vllm import plugins
    from vllm.v1.engine import core

    seen: list[bool] = []

    class Handshake(Exception):  # noqa: N818  (not an error)
        pass

    def shake(*_: Any, **__: Any) -> None:
        seen.append(plugins.plugins_loaded)
        raise Handshake

    whole = core.EngineCoreProc.__init__
    core.EngineCoreProc.__init__ = shake
    plugins.plugins_loaded = False
    try:
        core.EngineCoreProc.run_engine_core(vllm_config=VllmConfig())
    except Handshake:
        pass
    finally:
        core.EngineCoreProc.__init__ = whole
    return "right" if seen == [True] else "the handshake comes before the plugins"


PROBES = (
    engine_core_plugins_first,
    cli_distribution_name,
    nvfp4_registered_experts,
    nvfp4_w4a16_registered_kernel,
    nvfp4_shard_global_scales,
    nvfp4_unloaded_scales,
)


def main(report: Path) -> None:
    """Run every probe and write what each saw."""
    with set_current_vllm_config(VllmConfig()):
        # vLLM's parameters ask for their place in the group: here a group of one.
        init_distributed_environment(
            world_size=1,
            rank=0,
            distributed_init_method=f"file://{report.absolute()}.group",
            local_rank=0,
            backend="gloo",
        )
        initialize_model_parallel()
        seen = {probe.__name__: probe() for probe in PROBES}
    report.write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
