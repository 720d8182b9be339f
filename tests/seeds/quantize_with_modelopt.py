"""Runs in an environment of ModelOpt: quantize a tiny MoE model, say what came of it.

Usage: python quantize_with_modelopt.py KIND ARCHITECTURES FOLDER

ARCHITECTURES is ``named`` or ``none``. The last line of stdout is JSON: the dtypes of
what the routed experts have in the checkpoint, or the error of the export.
"""

import json
import sys
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

_COMMON: dict[str, Any] = {
    "vocab_size": 288,
    "hidden_size": 160,
    "intermediate_size": 224,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
    "shared_expert_intermediate_size": 64,
    "n_routed_experts": 6,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 0,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "full_attention_interval": 2,
}


def quantize(kind: str, architectures: str, folder: Path) -> dict[str, object]:
    """Return what the export wrote for the routed experts."""
    # ModelOpt 0.43.0 asks for it also where there is no GPU.
    torch.cuda.get_device_capability = lambda *_: (8, 0)
    torch.manual_seed(20261121)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **_COMMON))
    model = model.to(torch.bfloat16).eval()
    if architectures == "named":
        model.config.architectures = [type(model).__name__]
    tokens = torch.randint(3, 288, (4, 48))
    mtq.quantize(model, mtq.NVFP4_DEFAULT_CFG, lambda shown: shown(input_ids=tokens))
    try:
        with torch.inference_mode():
            export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=str(folder))
    except Exception as error:  # noqa: BLE001 - it is what the test wants to know
        return {"error": f"{type(error).__name__}: {error}"}
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        weights = [
            name
            for name in tensors.keys()  # noqa: SIM118 - it is no mapping
            if ".experts." in name and name.endswith(("weight", "proj"))
        ]
        dtypes = sorted({tensors.get_slice(name).get_dtype() for name in weights})
    return {"dtypes": dtypes}


if __name__ == "__main__":
    sys.stdout.write(
        "\n" + json.dumps(quantize(sys.argv[1], sys.argv[2], Path(sys.argv[3]))) + "\n"
    )
