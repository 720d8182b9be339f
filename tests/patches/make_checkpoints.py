"""Make tiny NVFP4 checkpoints with real ModelOpt; run it with the producer's Python.

Usage: python make_checkpoints.py FOLDER NAME...

Writes FOLDER/NAME for each name of ``KINDS``. Weights are random, from a seed.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from transformers import (
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

#: Dimensions differ from each other, so that no transposed tensor fits by accident.
_COMMON: dict[str, Any] = {
    "vocab_size": 288,
    "hidden_size": 160,
    "intermediate_size": 224,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EXPERTS: dict[str, Any] = {
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,
}


def _w4a4() -> dict[str, Any]:
    return copy.deepcopy(mtq.NVFP4_DEFAULT_CFG)


def _w4a16() -> dict[str, Any]:
    return copy.deepcopy(mtq.W4A16_NVFP4_CFG)


def _w4a4_kv8() -> dict[str, Any]:
    config = _w4a4()
    entries = mtq.FP8_KV_CFG["quant_cfg"]
    if isinstance(config["quant_cfg"], list):
        config["quant_cfg"] = [*config["quant_cfg"], *entries]
    else:
        config["quant_cfg"] = {**config["quant_cfg"], **entries}
    return config


#: Large enough for its matrix products to dominate the decoding of a token.
_LARGE: dict[str, Any] = {
    **_COMMON,
    **_EXPERTS,
    "vocab_size": 4096,
    "hidden_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "initializer_range": 0.02,
    "num_experts": 8,
    "moe_intermediate_size": 768,
}

#: Name: (dimensions, ModelOpt's quantization config).
KINDS = {
    "moe-w4a4": ({**_COMMON, **_EXPERTS}, _w4a4),
    "moe-w4a16": ({**_COMMON, **_EXPERTS}, _w4a16),
    "moe-w4a4-kv8": ({**_COMMON, **_EXPERTS}, _w4a4_kv8),
    "dense-w4a4": (_COMMON, _w4a4),
    "dense-w4a16": (_COMMON, _w4a16),
    "moe-large-w4a4": (_LARGE, _w4a4),
}


def _model(dimensions: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(20261121)
    model = (
        Qwen3MoeForCausalLM(Qwen3MoeConfig(**dimensions))
        if "num_experts" in dimensions
        else Qwen3ForCausalLM(Qwen3Config(**dimensions))
    )
    # nvidia-modelopt 0.47.0 cannot export a model whose config names no architecture.
    model.config.architectures = [type(model).__name__]
    return model


def _calibrate(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(8):
        tokens = torch.randint(3, 288, (4, 48), generator=generator)
        model(input_ids=tokens)


def make(folder: Path, name: str) -> None:
    """Write one checkpoint to ``folder / name``."""
    dimensions, config = KINDS[name]
    model = _model(dimensions).to(torch.bfloat16).eval()
    mtq.quantize(model, config(), _calibrate)
    export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=folder / name)


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        make(Path(sys.argv[1]), kind)
