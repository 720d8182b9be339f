"""Runs in the producer's environment: write tiny plain models, with random weights.

Usage: python make_models.py FOLDER KIND…
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

#: Dimensions differ from each other, so that no transposed tensor fits by accident.
_COMMON: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": 160,
    "intermediate_size": 224,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
    "tie_word_embeddings": False,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
}
_KINDS: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"decoder_sparse_step": 1, "norm_topk_prob": True},
    "qwen3_5_moe_text": {
        "shared_expert_intermediate_size": 64,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "full_attention_interval": 2,
    },
    "glm4_moe": {
        "n_routed_experts": 6,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
    },
}


def make(folder: Path, kind: str) -> None:
    """Write the model, with no architecture in its config, as some tools leave it."""
    torch.manual_seed(20261121)
    config = AutoConfig.for_model(kind, **_COMMON, **_KINDS[kind])
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder / kind)
    path = folder / kind / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": None}))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        make(Path(sys.argv[1]), name)
