"""Ask vLLM's own selection code: ``ask.py OUT [CAPABILITY...]``, in the engine."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

from cuda_stand_in import (  # type: ignore[import-not-found]  # beside this file
    ASKED,
    STANDS_IN,
    stand_in,
)

CAPABILITIES = (75, 80, 86, 89, 90, 100, 103, 110, 120, 121)
SCHEMES = ("NVFP4", "W4A16_NVFP4")


def main(out: Path, capabilities: tuple[int, ...]) -> None:
    """Write what stock vLLM would choose, and all that it would let one choose."""
    machine = stand_in()
    from vllm.version import __version__

    rows: dict[str, list[Any]] = {
        "moe": [],
        "mxfp4_moe": [],
        "plain_moe": [],
        "linear": [],
        "attention": [],
    }
    for capability in capabilities:
        machine.capability = capability
        with _configured():
            rows["moe"] += _moe(capability)
            rows["mxfp4_moe"] += _mxfp4(capability)
            rows["plain_moe"] += _plain(capability)
            rows["attention"] += _attention(machine)
        rows["linear"] += _linear(capability)
    out.write_text(
        json.dumps(
            {
                "vllm": __version__.partition("+")[0],
                "stands_in": STANDS_IN,
                **rows,
                "asked": sorted(name for name in ASKED if not name.startswith("vllm.")),
            }
        )
    )


def _moe(capability: int) -> Iterator[dict[str, Any]]:
    from vllm.model_executor.layers.fused_moe.oracle import nvfp4
    from vllm.model_executor.layers.quantization.utils.quant_utils import (
        kNvfp4Dynamic,
        kNvfp4Static,
    )

    for scheme in SCHEMES:
        key = kNvfp4Dynamic if scheme == "NVFP4" else None

        def select(config: Any, key: Any = key) -> str:
            return str(
                nvfp4.select_nvfp4_moe_backend(config, kNvfp4Static, key)[0].value
            )

        for shape in _shapes():
            yield {
                "capability": capability,
                "scheme": scheme,
                **shape,
                **_answers(select, shape),
            }


def _mxfp4(capability: int) -> Iterator[dict[str, Any]]:
    """The draft of a DeepSeek-V4: MXFP4 experts, gated, always clamped."""
    from vllm.model_executor.layers.fused_moe.oracle import mxfp4

    def select(config: Any) -> str:
        return str(mxfp4.select_deepseek_v4_mxfp4_moe_backend(config)[0].value)

    for expert_parallel in (False, True):
        shape = {
            "expert_parallel": expert_parallel,
            "activation": "silu",
            "swiglu_limit": True,
        }
        yield {
            "capability": capability,
            "scheme": "MXFP4",
            **shape,
            **_answers(select, shape),
        }


def _plain(capability: int) -> Iterator[dict[str, Any]]:
    """A draft that nobody quantized."""
    from vllm.model_executor.layers.fused_moe.oracle import unquantized

    def select(config: Any) -> str:
        return str(unquantized.select_unquantized_moe_backend(config)[0].value)

    for shape in _shapes():
        yield {
            "capability": capability,
            "scheme": "BF16",
            **shape,
            **_answers(select, shape),
        }


def _shapes() -> Iterator[dict[str, Any]]:
    for expert_parallel in (False, True):
        for activation, limit in (
            ("silu", False),
            ("silu", True),
            ("gelu_tanh", False),
            ("swigluoai", False),
            ("swigluoai_uninterleave", True),
            ("situ", False),
            ("relu2_no_mul", False),
        ):
            yield {
                "expert_parallel": expert_parallel,
                "activation": activation,
                "swiglu_limit": limit,
            }


def _answers(select: Callable[[Any], str], shape: dict[str, Any]) -> dict[str, Any]:
    """Return what `auto` chooses, and what becomes of every explicit choice."""
    from vllm.config.kernel import MoEBackend

    offers: dict[str, str] = {}
    refuses: dict[str, str] = {}
    for name in get_args(MoEBackend):
        if name == "auto":
            continue
        try:
            offers[name] = select(_config(shape, name))
        except (ValueError, NotImplementedError) as error:
            if "Expected one of" not in str(error):
                refuses[name] = _short(str(error))
    try:
        auto = select(_config(shape, "auto"))
    except (ValueError, NotImplementedError) as error:
        auto = None
        refuses["auto"] = _short(str(error))
    return {"auto": auto, "offers": offers, "refuses": refuses}


def _short(text: str) -> str:
    """Return the reason alone; the row says the rest."""
    text = text.replace("current device stand-in", "this compute capability")
    text = re.sub(r"FusedMoEParallelConfig\(.*?\)", "of this plan", text)
    return text.partition(" since ")[2].rstrip(".") or text.rstrip(".")


def _config(shape: dict[str, Any], backend: str) -> Any:
    import torch
    from vllm.model_executor.layers.fused_moe.activation import MoEActivation
    from vllm.model_executor.layers.fused_moe.config import (
        FusedMoEConfig,
        FusedMoEParallelConfig,
        RoutingMethodType,
    )

    parts = 8
    expert_parallel = shape["expert_parallel"]
    parallel = FusedMoEParallelConfig(
        tp_size=1 if expert_parallel else parts,
        pcp_size=1,
        dp_size=1,
        ep_size=parts if expert_parallel else 1,
        tp_rank=0,
        pcp_rank=0,
        dp_rank=0,
        ep_rank=0,
        sp_size=1,
        use_ep=expert_parallel,
        all2all_backend="allgather_reducescatter",
        enable_eplb=False,
    )
    # Of the models that clamp, DeepSeek-V4 has the routing that fewest kernels know.
    clamps = shape["swiglu_limit"]
    routing = RoutingMethodType.Renormalize
    if clamps and shape["activation"] == "silu":
        routing = RoutingMethodType.DeepseekV4
    return FusedMoEConfig(
        num_experts=256,
        experts_per_token=8,
        hidden_dim=4096,
        intermediate_size=2048,
        num_local_experts=256 // parts if expert_parallel else 256,
        num_logical_experts=256,
        activation=MoEActivation(shape["activation"]),
        device="cpu",
        routing_method=routing,
        moe_parallel_config=parallel,
        in_dtype=torch.bfloat16,
        moe_backend=backend,
        swiglu_limit=10.0 if clamps else None,
    )


def _linear(capability: int) -> Iterator[dict[str, Any]]:
    from vllm.config.kernel import LinearBackend

    names = [name for name in get_args(LinearBackend) if name != "auto"]
    for scheme in SCHEMES:
        offers: dict[str, str] = {}
        refuses: dict[str, str] = {}
        for name in names:
            if not _has_kernel(name, scheme):
                continue
            try:
                offers[name] = _linear_kernel(name, scheme)
            except ValueError as error:
                refuses[name] = str(error).partition("Reasons: ")[2].strip()
        yield {
            "capability": capability,
            "scheme": scheme,
            "auto": _linear_kernel("auto", scheme),
            "offers": offers,
            "refuses": refuses,
        }


def _has_kernel(name: str, scheme: str) -> bool:
    """Return whether vLLM has any kernel of this name for such layers.

    Where it has none it warns, and chooses as if nothing had been said.
    """
    from vllm.model_executor.kernels import linear
    from vllm.platforms import PlatformEnum

    kernels = linear._POSSIBLE_NVFP4_KERNELS[PlatformEnum.CUDA]
    mine = [k for k in kernels if k in linear._LINEAR_BACKEND_KERNEL_MAP[name]]
    if scheme == "W4A16_NVFP4":
        # As `init_nvfp4_linear_kernel` lists them in `a16_kernels`.
        able = re.compile(r"(Marlin|Humming)NvFp4LinearKernel|\w+W4A16LinearKernel")
        mine = [kernel for kernel in mine if able.fullmatch(kernel.__name__)]
    return bool(mine)


def _linear_kernel(name: str, scheme: str) -> str:
    from vllm.model_executor.kernels import linear

    with _configured(name):
        kernel = linear.init_nvfp4_linear_kernel(use_a16=scheme != "NVFP4")
    return type(kernel).__name__


def _attention(machine: Any) -> Iterator[dict[str, Any]]:
    """What `CudaPlatformBase.get_valid_backends` calls valid, first choice first."""
    import torch
    from vllm.v1.attention.selector import AttentionSelectorConfig

    for kind, head_size, keys in (
        ("plain", 128, {}),
        ("latent", 576, {"use_mla": True}),
        ("latent-sparse", 576, {"use_mla": True, "use_sparse": True}),
    ):
        for dtype in ("auto", "fp8", "nvfp4"):
            config = AttentionSelectorConfig(
                head_size=head_size,
                dtype=torch.bfloat16,
                kv_cache_dtype=dtype,
                block_size=None,
                **keys,
            )
            valid, invalid = machine.get_valid_backends(
                machine.get_device_capability(), config, num_heads=16
            )
            yield {
                "capability": machine.capability,
                "kind": kind,
                "kv_cache_dtype": dtype,
                "auto": valid[0].backend.name if valid else None,
                "offers": [candidate.backend.name for candidate in valid],
                "refuses": {
                    backend.name: ", ".join(reasons)
                    for backend, (_, reasons) in invalid.items()
                },
            }
    yield _deepseek_v4_attention(machine)


def _deepseek_v4_attention(machine: Any) -> dict[str, Any]:
    """The model's own choice; it asks nobody whether the GPU is able."""
    from vllm.models.deepseek_v4.nvidia import model
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    asked = SimpleNamespace(attention_config=SimpleNamespace(backend=None))
    chosen = model._select_dsv4_attn_cls(asked).backend_cls
    names = ("FLASHMLA_SPARSE_DSV4", "FLASHINFER_MLA_SPARSE_DSV4")
    able = {
        name: AttentionBackendEnum[name]
        .get_class()
        .supports_compute_capability(machine.get_device_capability())
        for name in names
    }
    return {
        "capability": machine.capability,
        "kind": "deepseek-v4",
        "kv_cache_dtype": "fp8",
        "auto": chosen.get_name(),
        "offers": [name for name in names if able[name]],
        "refuses": {
            name: "compute capability not supported" for name in names if not able[name]
        },
    }


@contextmanager
def _configured(linear_backend: str = "auto") -> Iterator[None]:
    """The settings of an engine, as far as a selection asks for them."""
    import vllm.config.vllm as config

    before = config._current_vllm_config
    config._current_vllm_config = SimpleNamespace(
        kernel_config=SimpleNamespace(
            linear_backend=linear_backend, linear_backend_per_quant=None
        ),
        parallel_config=SimpleNamespace(
            enable_dbo=False,
            enable_eplb=False,
            prefill_context_parallel_size=1,
            decode_context_parallel_size=1,
        ),
        weight_transfer_config=None,
        attention_config=SimpleNamespace(
            flash_attn_version=None, use_trtllm_attention=None, backend=None
        ),
        cache_config=SimpleNamespace(cache_dtype="auto", block_size=16),
        # DeepSeek-V3's, which latent attention is asked about.
        model_config=SimpleNamespace(
            hf_text_config=SimpleNamespace(
                qk_nope_head_dim=128,
                qk_rope_head_dim=64,
                v_head_dim=128,
                kv_lora_rank=512,
                index_topk=2048,
            ),
            hf_config=SimpleNamespace(model_type="deepseek_v3"),
            quantization_config=None,
        ),
        speculative_config=None,
    )
    try:
        yield
    finally:
        config._current_vllm_config = before


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])) or CAPABILITIES)
