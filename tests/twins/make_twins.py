"""Runs in the producer's environment: make tiny checkpoints with real ModelOpt.

The weights are random, but not flat: their sizes are such that every projection
moves the answers by much more than rounding does, so a wrong scale shows.
"""

import json
import sys
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

#: Standard deviation x sqrt(input width) of each kind of weight.
_GAINS = {
    "lm_head": 3.0,
    "mlp.gate": 3.0,
    "q_proj": 1.0,
    "k_proj": 1.0,
    "v_proj": 1.0,
    "o_proj": 1.0,
    "gate_proj": 1.5,
    "gate_up_proj": 1.5,
    "up_proj": 1.5,
    "down_proj": 1.5,
}
#: Length of the part of an embedding that names experts; the rest has sqrt(hidden).
_PULL = 20.0
_CALIBRATION_SHAPE = (8, 64)


def make_twin(folder: Path, twin: dict[str, Any]) -> None:
    """Write the checkpoint, with a tokenizer of one token a byte."""
    torch.manual_seed(twin["seed"])
    model = AutoModelForCausalLM.from_config(_config(twin)).to(torch.bfloat16).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _draw(name, weight)
        if twin["architecture"] == "Qwen3MoeForCausalLM":
            _route_clearly(model)
    calibration = torch.randint(twin["vocabulary"], _CALIBRATION_SHAPE)
    quantized = mtq.quantize(
        model, _quantization(twin), lambda calibrated: calibrated(calibration)
    )
    with torch.inference_mode():
        export_hf_checkpoint(quantized, dtype=torch.bfloat16, export_dir=str(folder))
    _write_tokenizer(folder)


def _config(twin: dict[str, Any]) -> Any:
    is_moe = twin["architecture"] == "Qwen3MoeForCausalLM"
    experts = {
        "num_experts": twin["experts"],
        "num_experts_per_tok": twin["experts_per_token"],
        "moe_intermediate_size": twin["feed_forward"],
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }
    config = AutoConfig.for_model(
        "qwen3_moe" if is_moe else "qwen3",
        vocab_size=twin["vocabulary"],
        hidden_size=twin["hidden"],
        intermediate_size=twin["feed_forward"],
        num_hidden_layers=twin["layers"],
        num_attention_heads=twin["heads"],
        num_key_value_heads=twin["kv_heads"],
        head_dim=twin["head_dim"],
        max_position_embeddings=512,
        tie_word_embeddings=False,
        **(experts if is_moe else {}),
    )
    config.architectures = [twin["architecture"]]  # ModelOpt's export asks for it
    return config


def _draw(name: str, weight: torch.Tensor) -> None:
    if weight.dim() == 1:
        weight.uniform_(0.5, 1.5)
    elif "embed_tokens" in name:
        weight.normal_()
    else:
        gain = _GAINS[_kind(name)]
        weight.normal_(std=gain / weight.shape[-1] ** 0.5)


def _route_clearly(model: torch.nn.Module) -> None:
    """Let every token name its experts, by a wide lead.

    Among random experts some are nearly tied at most positions; bfloat16 then picks
    others than float32, rightly, and the answers cannot be compared.
    """
    embeddings = model.model.embed_tokens.weight
    experts, chosen = model.config.num_experts, model.config.num_experts_per_tok
    directions = torch.linalg.qr(torch.randn(embeddings.shape[1], experts)).Q.T
    shares = torch.rand(embeddings.shape[0], experts).topk(chosen)
    pull = torch.zeros(embeddings.shape[0], experts)
    pull.scatter_(1, shares.indices, _PULL * (0.75 + 0.25 * shares.values))
    embeddings += (pull @ directions).to(embeddings.dtype)
    for layer in model.model.layers:
        layer.mlp.gate.weight.copy_(directions)


def _kind(name: str) -> str:
    """Return the part of a parameter's name that ``_GAINS`` knows."""
    parts = name.removesuffix(".weight").split(".")
    return "mlp.gate" if parts[-2:] == ["mlp", "gate"] else parts[-1]


def _quantization(twin: dict[str, Any]) -> Any:
    configs = {
        "NVFP4": mtq.NVFP4_DEFAULT_CFG,
        "W4A16_NVFP4": mtq.W4A16_NVFP4_CFG,
    }
    config = configs[twin["scheme"]]
    if twin["kv_cache"] == "FP8":
        return mtq.utils.update_quant_cfg_with_kv_cache_quant(
            config, mtq.FP8_KV_CFG["quant_cfg"]
        )
    return config


def _write_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    torch.set_num_threads(
        1
    )  # threads that wait for each other cost more than they give
    for folder, twin in json.loads(sys.argv[1]):
        make_twin(Path(folder), twin)
