"""Layouts for tests of what comes after reading a checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nvfp4_serve.checkpoint.types import Attention, Layout, Producer
from nvfp4_serve.recipe.backend_rules import BackendRules
from nvfp4_serve.recipe.environment import Variables
from nvfp4_serve.recipe.knowledge import Knowledge
from nvfp4_serve.recipe.stock import Stock
from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.units import GIB

#: About Qwen3-30B-A3B in NVFP4 (its config.json: 48 layers, 4 KV heads of 128).
QWEN3_30B = Layout(
    model="/models/qwen3-30b-a3b-nvfp4",
    folder="/models/qwen3-30b-a3b-nvfp4",
    revision=None,
    architecture="Qwen3MoeForCausalLM",
    producer=Producer("modelopt", "0.47.0"),
    layout="modelopt-per-expert",
    schemes={"attention": "NVFP4", "routed_experts": "NVFP4", "kv_cache": "BF16"},
    weight_bytes=17 * GIB,
    parameters=30_532_122_624,
    dequantized_bytes=57 * GIB,
    max_position_embeddings=40_960,
    attention=Attention(layers=48, kv_heads=4, head_dim=128),
    needs_remote_code=False,
    findings=(),
)


def layout(**changes: Any) -> Layout:
    """Return the layout of Qwen3-30B-A3B with some fields changed."""
    return replace(QWEN3_30B, **changes)


def knowledge(spellings: Mapping[str, str] | None = None, **changes: Any) -> Knowledge:
    """Return what the data files say: of flags ``spellings``, and else nothing."""
    nothing = Knowledge(
        spellings=spellings or {},
        rules=BackendRules(vllm=VLLM_VERSION, rows=()),
        auto=Stock(vllm=VLLM_VERSION),
        recipes=(),
        variables=Variables(vllm=VLLM_VERSION, known=frozenset(), removed={}),
    )
    return replace(nothing, **changes)
