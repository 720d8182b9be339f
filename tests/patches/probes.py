"""See whether vLLM shows the bugs of our patches; run it with an engine's Python.

Usage: python probes.py REPORT.json

Each probe returns "right", or a sentence that says what it met. No model is loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    registered = oracle.NvFp4MoeBackend.REGISTERED
    layer, _ = _expert_layer(backend=registered, told=told, use_a16=False)
    return "right" if told == [layer] else "the experts were not told"


def _expert_layer(
    *, backend: Any, told: list[torch.nn.Module], use_a16: bool
) -> tuple[torch.nn.Module, Any]:
    """Return experts with the parameters that vLLM makes for them, and their method."""
    method = object.__new__(modelopt.ModelOptNvFp4FusedMoE)
    method.quant_config = SimpleNamespace(
        is_checkpoint_nvfp4_serialized=True, group_size=16
    )
    method.moe = SimpleNamespace(is_act_and_mul=True)
    method.use_global_sf = False
    method.use_a16 = use_a16
    method.nvfp4_backend = backend
    method.experts_cls = SimpleNamespace(weights_created=told.append)
    layer = torch.nn.Module()
    method.create_weights(
        layer, 2, COLS, 32, torch.bfloat16, weight_loader=_load, global_num_experts=2
    )
    return layer, method


def w4a16_experts_without_input_scales() -> str:
    """Load tracking must ask for input scales where there are some: in W4A4."""
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    found = {}
    for use_a16 in (True, False):
        backend = oracle.NvFp4MoeBackend.MARLIN
        layer, method = _expert_layer(backend=backend, told=[], use_a16=use_a16)
        layer.quant_method = method
        loaded = {name for name, _ in layer.named_parameters() if "input" not in name}
        try:
            DefaultModelLoader.track_weights_loading(None, layer, loaded, True)
        except ValueError as error:
            found[use_a16] = str(error)
    if True in found:
        return f"W4A16: {found[True]}"
    return "right" if "w13_input_scale" in found.get(False, "") else "W4A4 is let by"


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


def deepseek_v4_mega_moe_nvfp4() -> str:
    """DeepSeek-V4's NVFP4 experts must be refused before anything of them is made."""
    from vllm.models.deepseek_v4.nvidia import model

    class Reached(Exception):  # noqa: N818  (not an error)
        pass

    def reach(**_: Any) -> None:
        raise Reached

    def make(ignore: list[str]) -> str:
        with _deepseek_v4(ignore) as quant_config:
            try:
                model.DeepseekV4MoE(
                    _mega_moe(quant_config), "model.layers.61.ffn", num_hash_layers=0
                )
            except NotImplementedError as error:
                return str(error)
            except Reached:
                return "no error"
        raise AssertionError

    whole = model.GateLinear
    model.GateLinear = reach
    try:
        refused, native = make([]), make(["mtp.*"])
    finally:
        model.GateLinear = whole
    if "model.layers.61.ffn are NVFP4" not in refused or "43454" not in refused:
        return f"NVFP4 experts: {refused}"
    return "right" if native == "no error" else f"MXFP4 experts: {native}"


def _mega_moe(quant_config: Any) -> Any:
    config = SimpleNamespace(
        hidden_size=256,
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=256,
        swiglu_limit=None,
        norm_topk_prob=True,
        expert_dtype="fp4",
    )
    return SimpleNamespace(
        model_config=SimpleNamespace(hf_config=config),
        quant_config=quant_config,
        kernel_config=SimpleNamespace(moe_backend="deep_gemm_mega_moe"),
        parallel_config=SimpleNamespace(enable_expert_parallel=True),
    )


@contextmanager
def _deepseek_v4(ignore: list[str]) -> Iterator[Any]:
    """Give vLLM's own config of a checkpoint with 61 layers and NVFP4 experts."""
    from vllm.models.deepseek_v41 import quant_config as module

    words = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "moe_quant_algo": "NVFP4",
        **({"ignore": ignore} if ignore else {}),
    }
    current = SimpleNamespace(
        model_config=SimpleNamespace(
            hf_config=SimpleNamespace(quantization_config=words),
            hf_text_config=SimpleNamespace(num_hidden_layers=61),
        )
    )
    whole = module.get_current_vllm_config
    module.get_current_vllm_config = lambda: current
    try:
        yield module.DeepseekV4FP8Config.from_config(dict(words))
    finally:
        module.get_current_vllm_config = whole


def deepseek_v4_mtp_formats() -> str:
    """`ignore: ["mtp.*"]` must make the MTP layer MXFP4, and nothing else."""
    found = {}
    for ignore in ((), ("mtp.*",)):
        with _deepseek_v4(list(ignore)) as quant_config:
            found[ignore] = [
                quant_config._is_nvfp4_expert_layer(f"model.layers.{layer}.ffn.experts")
                for layer in (0, 60, 61)
            ]
    wanted = {(): [True, True, True], ("mtp.*",): [True, True, False]}
    return "right" if found == wanted else f"NVFP4 at layers 0, 60 and 61: {found}"


def modelopt_legacy_w4a16() -> str:
    """W4A16_NVFP4 in hf_quant_config.json alone must be served as ModelOpt's FP4."""
    from vllm.transformers_utils import model_arch_config_convertor as convertor

    words = {
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {
            "quant_algo": "W4A16_NVFP4",
            "kv_cache_quant_algo": None,
            "group_size": 16,
            "exclude_modules": ["lm_head"],
        },
    }
    normalize = convertor.ModelArchConfigConvertorBase._normalize_quantization_config
    try:
        taken = normalize(None, SimpleNamespace(quantization_config=words))
    except ValueError as error:
        return f"ValueError: {error}"
    made = modelopt.ModelOptNvFp4Config.from_config(words)
    if (taken["quant_method"], made.quant_method) == ("modelopt_fp4", "W4A16_NVFP4"):
        return "right"
    return f"{taken['quant_method']}, {made.quant_method}"


PROBES = (
    w4a16_experts_without_input_scales,
    deepseek_v4_mega_moe_nvfp4,
    deepseek_v4_mtp_formats,
    modelopt_legacy_w4a16,
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
