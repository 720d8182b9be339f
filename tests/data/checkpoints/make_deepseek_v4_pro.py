"""Write the constructed facts of canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP.

    cd tests && ../.venv/bin/python -m data.checkpoints.make_deepseek_v4_pro

Its files were not at hand. Names, dtypes and shapes are those of the source,
deepseek-ai/DeepSeek-V4-Pro, as its config and the published count of its headers
(May 2026) give them, with what the converter does to the routed experts of the trunk.
The source is built first and held against every published number: 145,116 tensors, of
which 2,343 are the draft layer's, 331,292,416 values in the attention of layer 30, and
864,704,792,696 bytes, which is `total_size` of its index to the byte. The result has
913.06e9 bytes: the "913 GiB" of the model card are GB (it calls the 864.7 GB of the
source "864 GiB" too).
"""

import math
from collections.abc import Iterator

from data.checkpoints.constructing import Tensor, construct, plain, size, write
from data.headers.make_deepseek_v4 import fp8, mxfp4, nvfp4
from nvfp4_serve.checkpoint.types import Checkpoint

LAYERS, EXPERTS, PER_TOKEN = 61, 384, 6
HIDDEN, EXPERT, VOCABULARY = 7168, 3072, 129280
HEADS, HEAD, Q_RANK, O_RANK, O_GROUPS = 128, 512, 1536, 1024, 16
INDEX_HEADS, INDEX_HEAD = 64, 128
STREAMS, HASHED = 4, 3
#: One for each layer of the trunk, and 0 for the draft layer.
RATIOS = (128, 128, *(4, 128) * 29, 4, 0)
PROJECTIONS = (("w1", EXPERT, HIDDEN), ("w2", HIDDEN, EXPERT), ("w3", EXPERT, HIDDEN))

CONFIG = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "expert_dtype": "fp4",
    "hc_eps": 1e-06,
    "hc_mult": STREAMS,
    "hc_sinkhorn_iters": 20,
    "head_dim": HEAD,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "index_head_dim": INDEX_HEAD,
    "index_n_heads": INDEX_HEADS,
    "index_topk": 1024,
    "initializer_range": 0.02,
    "max_position_embeddings": 1048576,
    "model_type": "deepseek_v4",
    "moe_intermediate_size": EXPERT,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": HEADS,
    "num_experts_per_tok": PER_TOKEN,
    "num_hash_layers": HASHED,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 1,
    "num_nextn_predict_layers": 1,
    "o_groups": O_GROUPS,
    "o_lora_rank": O_RANK,
    "q_lora_rank": Q_RANK,
    "qk_rope_head_dim": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "scale_fmt": "ue8m0",
        "weight_block_size": [128, 128],
        "moe_quant_algo": "NVFP4",
        "expert_format": {
            "name": "nvfp4",
            "weight_dtype": "fp4_e2m1",
            "weight_packing": "uint8_2_per_byte",
            "group_size": 16,
            "scale_dtype": "fp8_e4m3",
            "weight_scale_2_dtype": "fp32",
        },
    },
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 16,
        "original_max_position_embeddings": 65536,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sqrtsoftplus",
    "sliding_window": 128,
    "swiglu_limit": 10.0,
    "tie_word_embeddings": False,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.1",
    "use_cache": True,
    "vocab_size": VOCABULARY,
    "compress_rope_theta": 160000,
    "compress_ratios": list(RATIOS),
}
SOURCES = (
    (
        "canada-quant/dsv4-pro-nvfp4-fp8-mtp (May 2026), the converter's convert_shard "
        "and rewrite_config; v12_nvfp4_mtp_working_2026_05_24.md: no tensor of `mtp.*` "
        "is changed, and the config has no `ignored_layers`"
    ),
    (
        "the same, upstream_research_v4_pro_ground_truth.md and "
        "v4_pro_active_params.md: the config, and the source's tensors counted by dtype"
    ),
    "deepseek-ai/DeepSeek-V4-Pro, config.json, as public files quote it",
    (
        "vLLM 0.32.0, models/deepseek_v4/attention.py, compressor.py, nvidia/model.py "
        "and nvidia/mtp.py: names and shapes of what the count does not name"
    ),
    (
        "the model card says 913 GiB; these tensors have 913.06e9 bytes, 850.4 GiB. It "
        "calls the 864,704,792,696 bytes of the source 864 GiB too"
    ),
)


def compressor(module: str, ratio: int, width: int) -> Iterator[Tensor]:
    # Where it is 4, windows overlap, and each has two sets of weights.
    rows = width * (2 if ratio == 4 else 1)
    yield from plain(f"{module}.wkv", rows, HIDDEN)
    yield from plain(f"{module}.wgate", rows, HIDDEN)
    yield f"{module}.ape", "F32", (ratio, rows)
    yield from plain(f"{module}.norm", width)


def attention(module: str, ratio: int) -> Iterator[Tensor]:
    yield from fp8(f"{module}.wq_a", Q_RANK, HIDDEN)
    yield from fp8(f"{module}.wq_b", HEADS * HEAD, Q_RANK)
    yield from fp8(f"{module}.wkv", HEAD, HIDDEN)
    yield from fp8(f"{module}.wo_a", O_GROUPS * O_RANK, HEADS * HEAD // O_GROUPS)
    yield from fp8(f"{module}.wo_b", HIDDEN, O_GROUPS * O_RANK)
    yield from plain(f"{module}.q_norm", Q_RANK)
    yield from plain(f"{module}.kv_norm", HEAD)
    yield f"{module}.attn_sink", "F32", (HEADS,)
    if ratio:
        yield from compressor(f"{module}.compressor", ratio, HEAD)
    if ratio == 4:
        yield from fp8(f"{module}.indexer.wq_b", INDEX_HEADS * INDEX_HEAD, Q_RANK)
        yield from plain(f"{module}.indexer.weights_proj", INDEX_HEADS, HIDDEN)
        yield from compressor(f"{module}.indexer.compressor", ratio, INDEX_HEAD)


def streams(prefix: str) -> Iterator[Tensor]:
    """The hyper-connections of one layer."""
    mixes = 2 * STREAMS + STREAMS**2
    for part in ("attn", "ffn"):
        yield f"{prefix}.hc_{part}_fn", "F32", (mixes, STREAMS * HIDDEN)
        yield f"{prefix}.hc_{part}_base", "F32", (mixes,)
        yield f"{prefix}.hc_{part}_scale", "F32", (3,)


def head_streams(prefix: str) -> Iterator[Tensor]:
    yield f"{prefix}hc_head_fn", "F32", (STREAMS, STREAMS * HIDDEN)
    yield f"{prefix}hc_head_base", "F32", (STREAMS,)
    yield f"{prefix}hc_head_scale", "F32", (1,)


def layer(prefix: str, number: int, *, converted: bool) -> Iterator[Tensor]:
    yield from plain(f"{prefix}.attn_norm", HIDDEN)
    yield from plain(f"{prefix}.ffn_norm", HIDDEN)
    yield from attention(f"{prefix}.attn", RATIOS[number])
    yield from streams(prefix)
    yield from plain(f"{prefix}.ffn.gate", EXPERTS, HIDDEN)
    if number < HASHED:
        yield f"{prefix}.ffn.gate.tid2eid", "I64", (VOCABULARY, PER_TOKEN)
    else:
        yield f"{prefix}.ffn.gate.bias", "F32", (EXPERTS,)
    for name, rows, cols in PROJECTIONS:
        yield from fp8(f"{prefix}.ffn.shared_experts.{name}", rows, cols)
        for expert in range(EXPERTS):
            packed = nvfp4 if converted else mxfp4
            yield from packed(f"{prefix}.ffn.experts.{expert}.{name}", rows, cols)


def tensors(*, converted: bool) -> Iterator[Tensor]:
    """Yield those of the checkpoint, or of its source."""
    yield from plain("embed", VOCABULARY, HIDDEN)
    yield from plain("head", VOCABULARY, HIDDEN)
    yield from plain("norm", HIDDEN)
    yield from head_streams("")
    for number in range(LAYERS):
        yield from layer(f"layers.{number}", number, converted=converted)
    yield from layer("mtp.0", LAYERS, converted=False)
    yield from fp8("mtp.0.e_proj", HIDDEN, HIDDEN)
    yield from fp8("mtp.0.h_proj", HIDDEN, HIDDEN)
    for name in ("enorm", "hnorm", "norm"):
        yield from plain(f"mtp.0.{name}", HIDDEN)
    yield from head_streams("mtp.0.")


def counted() -> dict[str, int]:
    """Return of the source what was counted in its headers, and published."""
    found = list(tensors(converted=False))
    return {
        "tensors": len(found),
        "tensors of mtp": sum(name.startswith("mtp.") for name, _, _ in found),
        "values in the attention of layer 30": sum(
            math.prod(shape)
            for name, dtype, shape in found
            if name.startswith("layers.30.attn.") and dtype != "F8_E8M0"
        ),
        "bytes": sum(map(size, found)),
    }


#: v4_pro_active_params.md and upstream_research_v4_pro_ground_truth.md; the bytes are
#: `metadata.total_size` of model.safetensors.index.json, quoted in the second.
PUBLISHED = {
    "tensors": 145_116,
    "tensors of mtp": 2_343,
    "values in the attention of layer 30": 331_292_416,
    "bytes": 864_704_792_696,
}


def checkpoint() -> Checkpoint:
    """Return the checkpoint."""
    return construct(
        "canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP",
        tensors(converted=True),
        config=CONFIG,
        sources=SOURCES,
    )


if __name__ == "__main__":
    write("deepseek-v4-pro-nvfp4-fp8-mtp", checkpoint())
