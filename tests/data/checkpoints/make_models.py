"""Write the constructed facts of well-known checkpoints.

    cd tests && ../.venv/bin/python -m data.checkpoints.make_models

Their files were not at hand. The sides are those of the published config of each base
model; names and dtypes are those that the same producer wrote for the tiny models of
``tests/data/headers``. Which modules are quantized is taken as the producer's default
has it, or as ``sources`` says; the real checkpoint may differ there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from data.checkpoints import make_deepseek_v4_pro
from data.checkpoints.constructing import (
    Tensor,
    compressed,
    construct,
    modelopt,
    modelopt_fp8,
    plain,
    write,
)
from nvfp4_serve.checkpoint.types import Checkpoint

Linear = Callable[[str, int, int], Iterator[Tensor]]
FP8_KV = {"dynamic": False, "num_bits": 8, "type": "float"}
FOUR = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}


def modelopt_config(*ignore: str, kv: bool = False) -> dict[str, Any]:
    """As ModelOpt 0.47.0 writes it into config.json."""
    config: dict[str, Any] = {
        "config_groups": {
            "group_0": {
                "input_activations": FOUR,
                "weights": FOUR,
                "targets": ["Linear"],
            }
        },
        "ignore": ["lm_head", *ignore],
        "quant_algo": "NVFP4",
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quant_method": "modelopt",
    }
    return {**config, "kv_cache_scheme": FP8_KV} if kv else config


def mixed_config(layers: dict[str, str], *, kv: bool) -> dict[str, Any]:
    """As ModelOpt writes it where schemes differ between modules."""
    config: dict[str, Any] = {
        "quant_algo": "MIXED_PRECISION",
        "quant_method": "modelopt",
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "ignore": ["lm_head"],
        "quantized_layers": {
            name: {
                "quant_algo": scheme,
                **({"group_size": 16} if "4" in scheme else {}),
            }
            for name, scheme in layers.items()
        },
    }
    return {**config, "kv_cache_scheme": FP8_KV} if kv else config


def compressed_config(*ignore: str) -> dict[str, Any]:
    """As llm-compressor 0.14 writes it."""
    values = {
        "num_bits": 4, "type": "float", "symmetric": True, "group_size": 16,
        "strategy": "tensor_group", "scale_dtype": "torch.float8_e4m3fn",
    }  # fmt: skip
    return {
        "config_groups": {
            "group_0": {
                "format": "nvfp4-pack-quantized",
                "targets": ["Linear"],
                "weights": {**values, "dynamic": False},
                "input_activations": {**values, "dynamic": "local"},
                "output_activations": None,
            }
        },
        "quant_method": "compressed-tensors",
        "kv_cache_scheme": None,
        "format": "nvfp4-pack-quantized",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "ignore": ["lm_head", *ignore],
    }


def ends(vocabulary: int, hidden: int, *, tied: bool = False) -> Iterator[Tensor]:
    yield from plain("model.embed_tokens", vocabulary, hidden)
    yield from plain("model.norm", hidden)
    if not tied:
        yield from plain("lm_head", vocabulary, hidden)


def attention(
    prefix: str,
    c: dict[str, Any],
    linear: Linear,
    *,
    kv_scales: bool = False,
    norms: tuple[int, int] | None = None,
) -> Iterator[Tensor]:
    """Plain attention with grouped queries."""
    head, hidden = c["head_dim"], c["hidden_size"]
    queries, keys = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    for name, rows, cols in (
        ("q_proj", queries, hidden),
        ("k_proj", keys, hidden),
        ("v_proj", keys, hidden),
        ("o_proj", hidden, queries),
    ):
        yield from linear(f"{prefix}.{name}", rows, cols)
    if kv_scales:
        yield f"{prefix}.k_proj.k_scale", "F32", ()
        yield f"{prefix}.v_proj.v_scale", "F32", ()
    if norms:
        yield from plain(f"{prefix}.q_norm", norms[0])
        yield from plain(f"{prefix}.k_norm", norms[1])


def gated(prefix: str, width: int, hidden: int, linear: Linear) -> Iterator[Tensor]:
    yield from linear(f"{prefix}.gate_proj", width, hidden)
    yield from linear(f"{prefix}.up_proj", width, hidden)
    yield from linear(f"{prefix}.down_proj", hidden, width)


def layer_norms(prefix: str, hidden: int) -> Iterator[Tensor]:
    yield from plain(f"{prefix}.input_layernorm", hidden)
    yield from plain(f"{prefix}.post_attention_layernorm", hidden)


def llama(model: str, c: dict[str, Any]) -> Checkpoint:
    def tensors() -> Iterator[Tensor]:
        hidden = c["hidden_size"]
        yield from ends(c["vocab_size"], hidden)
        for number in range(c["num_hidden_layers"]):
            layer = f"model.layers.{number}"
            yield from layer_norms(layer, hidden)
            yield from attention(f"{layer}.self_attn", c, modelopt, kv_scales=True)
            yield from gated(f"{layer}.mlp", c["intermediate_size"], hidden, modelopt)

    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        **c,
        "quantization_config": modelopt_config(kv=True),
    }
    sources = (
        f"meta-llama/{model.removeprefix('nvidia/').removesuffix('-NVFP4')}, config",
        "names and dtypes: modelopt-0.47.0-fp8-kv in tests/data/headers",
    )
    return construct(model, tensors(), config=config, sources=sources)


LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
LLAMA_70B = {
    **LLAMA_8B, "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip


def qwen3_moe(model: str, c: dict[str, Any], linear: Linear) -> Checkpoint:
    def tensors() -> Iterator[Tensor]:
        hidden, head = c["hidden_size"], c["head_dim"]
        yield from ends(c["vocab_size"], hidden)
        for number in range(c["num_hidden_layers"]):
            layer = f"model.layers.{number}"
            yield from layer_norms(layer, hidden)
            yield from attention(f"{layer}.self_attn", c, linear, norms=(head, head))
            yield from plain(f"{layer}.mlp.gate", c["num_experts"], hidden)
            for expert in range(c["num_experts"]):
                prefix = f"{layer}.mlp.experts.{expert}"
                yield from gated(prefix, c["moe_intermediate_size"], hidden, linear)

    gates = [f"model.layers.{n}.mlp.gate" for n in range(c["num_hidden_layers"])]
    is_modelopt = linear is modelopt
    config = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "hidden_act": "silu",
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "max_position_embeddings": 40960,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        **c,
        "quantization_config": modelopt_config("model.embed_tokens", *gates)
        if is_modelopt
        else compressed_config("re:.*mlp.gate$"),
    }
    base = model.partition("/")[2].removesuffix("-NVFP4")
    header = "modelopt-0.47.0-nvfp4" if is_modelopt else "llm-compressor-0.14.0.1-nvfp4"
    sources = (
        f"Qwen/{base}, config",
        f"names and dtypes: {header} in tests/data/headers",
    )
    return construct(model, tensors(), config=config, sources=sources)


QWEN3_30B = {
    "hidden_size": 2048, "moe_intermediate_size": 768, "num_hidden_layers": 48,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
    "num_experts": 128, "vocab_size": 151936,
}  # fmt: skip
QWEN3_235B = {
    **QWEN3_30B, "hidden_size": 4096, "moe_intermediate_size": 1536,
    "num_hidden_layers": 94, "num_attention_heads": 64,
}  # fmt: skip


def deepseek_v3_1() -> Checkpoint:
    """Experts and MLPs NVFP4, attention and the draft layer as they were."""
    hidden, layers, experts, width, dense = 7168, 61, 256, 2048, 18432
    heads, q_rank, kv_rank, nope, rope, value = 128, 1536, 512, 128, 64, 128

    def mla(prefix: str) -> Iterator[Tensor]:
        yield from plain(f"{prefix}.q_a_proj", q_rank, hidden)
        yield from plain(f"{prefix}.q_b_proj", heads * (nope + rope), q_rank)
        yield from plain(f"{prefix}.kv_a_proj_with_mqa", kv_rank + rope, hidden)
        yield from plain(f"{prefix}.kv_b_proj", heads * (nope + value), kv_rank)
        yield from plain(f"{prefix}.o_proj", hidden, heads * value)
        yield from plain(f"{prefix}.q_a_layernorm", q_rank)
        yield from plain(f"{prefix}.kv_a_layernorm", kv_rank)

    def tensors() -> Iterator[Tensor]:
        yield from ends(129280, hidden)
        for number in range(layers):
            layer = f"model.layers.{number}"
            yield from layer_norms(layer, hidden)
            yield from mla(f"{layer}.self_attn")
            if number < 3:
                yield from gated(f"{layer}.mlp", dense, hidden, modelopt)
                continue
            yield from plain(f"{layer}.mlp.gate", experts, hidden)
            yield f"{layer}.mlp.gate.e_score_correction_bias", "F32", (experts,)
            yield from gated(f"{layer}.mlp.shared_experts", width, hidden, modelopt)
            for expert in range(experts):
                prefix = f"{layer}.mlp.experts.{expert}"
                yield from gated(prefix, width, hidden, modelopt)

    ignore = [f"model.layers.{n}.self_attn*" for n in range(layers)]
    ignore += [f"model.layers.{n}.mlp.gate" for n in range(3, layers)]
    config = {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "hidden_size": hidden, "intermediate_size": dense,
        "moe_intermediate_size": width,
        "num_hidden_layers": layers, "num_nextn_predict_layers": 1,
        "num_attention_heads": heads, "num_key_value_heads": heads,
        "q_lora_rank": q_rank, "kv_lora_rank": kv_rank, "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope, "v_head_dim": value, "n_routed_experts": experts,
        "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
        "moe_layer_freq": 1, "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc",
        "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
        "hidden_act": "silu", "vocab_size": 129280, "max_position_embeddings": 163840,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "quantization_config": modelopt_config("model.embed_tokens", *ignore),
    }  # fmt: skip
    return construct(
        "nvidia/DeepSeek-V3.1-NVFP4",
        tensors(),
        config=config,
        sources=(
            "deepseek-ai/DeepSeek-V3.1, config",
            "names and dtypes: modelopt-0.47.0-deepseek-v3 in tests/data/headers",
            "attention left plain, as NVIDIA's DeepSeek-R1 has it: assumed",
            "the draft layer is left out",
        ),
    )


def qwen3_6_35b() -> Checkpoint:
    """Experts NVFP4, the rest FP8; three layers of linear attention, then one plain."""
    hidden, layers, experts, width = 2048, 40, 256, 512
    heads, kv_heads, head = 16, 2, 256
    linear_keys, linear_values = 16 * 128, 32 * 128
    kinds = ["linear_attention"] * 3 + ["full_attention"]
    top = "model.language_model"

    def linear_attention(prefix: str) -> Iterator[Tensor]:
        mixed = 2 * linear_keys + linear_values
        yield from modelopt_fp8(f"{prefix}.in_proj_qkv", mixed, hidden)
        yield from modelopt_fp8(f"{prefix}.in_proj_z", linear_values, hidden)
        yield from modelopt_fp8(f"{prefix}.out_proj", hidden, linear_values)
        yield from plain(f"{prefix}.in_proj_a", 32, hidden)
        yield from plain(f"{prefix}.in_proj_b", 32, hidden)
        yield from plain(f"{prefix}.conv1d", mixed, 1, 4)
        yield from plain(f"{prefix}.norm", 128)
        yield f"{prefix}.A_log", "BF16", (32,)
        yield f"{prefix}.dt_bias", "BF16", (32,)

    def full_attention(prefix: str) -> Iterator[Tensor]:
        # The queries carry a gate of the same width.
        yield from modelopt_fp8(f"{prefix}.q_proj", 2 * heads * head, hidden)
        yield from modelopt_fp8(f"{prefix}.k_proj", kv_heads * head, hidden)
        yield from modelopt_fp8(f"{prefix}.v_proj", kv_heads * head, hidden)
        yield from modelopt_fp8(f"{prefix}.o_proj", hidden, heads * head)
        yield from plain(f"{prefix}.q_norm", head)
        yield from plain(f"{prefix}.k_norm", head)

    def tensors() -> Iterator[Tensor]:
        yield from plain(f"{top}.embed_tokens", 248320, hidden)
        yield from plain(f"{top}.norm", hidden)
        yield from plain("lm_head", 248320, hidden)
        for number in range(layers):
            layer = f"{top}.layers.{number}"
            yield from layer_norms(layer, hidden)
            if kinds[number % 4] == "linear_attention":
                yield from linear_attention(f"{layer}.linear_attn")
            else:
                yield from full_attention(f"{layer}.self_attn")
            yield from plain(f"{layer}.mlp.gate", experts, hidden)
            yield from plain(f"{layer}.mlp.shared_expert_gate", 1, hidden)
            yield from gated(f"{layer}.mlp.shared_expert", width, hidden, modelopt_fp8)
            for expert in range(experts):
                prefix = f"{layer}.mlp.experts.{expert}"
                yield from gated(prefix, width, hidden, modelopt)

    found = list(tensors())
    fp8 = {n.rpartition(".")[0]: "FP8" for n, dtype, _ in found if dtype == "F8_E4M3"}
    nvfp4 = {n.rpartition(".")[0]: "NVFP4" for n, dtype, _ in found if dtype == "U8"}
    text = {
        "model_type": "qwen3_5_moe_text", "hidden_size": hidden,
        "num_hidden_layers": layers, "layer_types": kinds * (layers // 4),
        "full_attention_interval": 4, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head, "attn_output_gate": True,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4, "num_experts": experts, "num_experts_per_tok": 8,
        "moe_intermediate_size": width, "shared_expert_intermediate_size": width,
        "hidden_act": "silu", "vocab_size": 248320, "max_position_embeddings": 262144,
        "mamba_ssm_dtype": "float32", "tie_word_embeddings": False,
    }  # fmt: skip
    config = {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "model_type": "qwen3_5_moe",
        "text_config": text,
        "quantization_config": mixed_config(experts_once({**fp8, **nvfp4}), kv=True),
    }
    return construct(
        "nvidia/Qwen3.6-35B-A3B-NVFP4",
        found,
        config=config,
        sources=(
            "Qwen/Qwen3.6-35B-A3B, text_config, as public files quote it",
            "names: modelopt-0.47.0-qwen3.5-moe in tests/data/headers",
            "NVFP4 and FP8 mixed is published; which module is which is assumed",
            "the vision tower and the draft layer are left out",
        ),
    )


def experts_once(layers: dict[str, str]) -> dict[str, str]:
    """Return the modules, the experts of a layer as one, as ModelOpt names them."""
    folded = {}
    for name, scheme in layers.items():
        head, experts, _ = name.partition(".experts.")
        folded[f"{head}.experts" if experts else name] = scheme
    return folded


SUPER_PATTERN = (
    "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*"
    "EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME"
)


def nemotron_3_super() -> Checkpoint:
    """Mamba-2, attention and experts in a latent space; ReLU2, so no gate."""
    hidden, latent, experts, width, shared = 4096, 1024, 512, 2688, 5376
    inner, state, groups, ssm_heads = 128 * 64, 128, 8, 128
    attn = {
        "head_dim": 128, "hidden_size": hidden, "num_attention_heads": 32,
        "num_key_value_heads": 2,
    }  # fmt: skip

    def mamba(prefix: str) -> Iterator[Tensor]:
        mixed = inner + 2 * groups * state
        yield from modelopt_fp8(f"{prefix}.in_proj", inner + mixed + ssm_heads, hidden)
        yield from modelopt_fp8(f"{prefix}.out_proj", hidden, inner)
        yield from plain(f"{prefix}.conv1d", mixed, 1, 4)
        yield f"{prefix}.conv1d.bias", "BF16", (mixed,)
        yield from plain(f"{prefix}.norm", inner)
        for name in ("A_log", "D", "dt_bias"):
            yield f"{prefix}.{name}", "BF16", (ssm_heads,)

    def moe(prefix: str) -> Iterator[Tensor]:
        yield from plain(f"{prefix}.gate", experts, hidden)
        yield f"{prefix}.gate.e_score_correction_bias", "F32", (experts,)
        yield from plain(f"{prefix}.fc1_latent_proj", latent, hidden)
        yield from plain(f"{prefix}.fc2_latent_proj", hidden, latent)
        yield from modelopt_fp8(f"{prefix}.shared_experts.up_proj", shared, hidden)
        yield from modelopt_fp8(f"{prefix}.shared_experts.down_proj", hidden, shared)
        for expert in range(experts):
            yield from modelopt(f"{prefix}.experts.{expert}.up_proj", width, latent)
            yield from modelopt(f"{prefix}.experts.{expert}.down_proj", latent, width)

    kinds: dict[str, Callable[[str], Iterator[Tensor]]] = {
        "M": mamba, "E": moe,
        "*": partial(attention, c=attn, linear=plain),
    }  # fmt: skip

    def tensors() -> Iterator[Tensor]:
        yield from plain("backbone.embeddings", 131072, hidden)
        yield from plain("backbone.norm_f", hidden)
        yield from plain("lm_head", 131072, hidden)
        for number, kind in enumerate(SUPER_PATTERN):
            layer = f"backbone.layers.{number}"
            yield from plain(f"{layer}.norm", hidden)
            yield from kinds[kind](f"{layer}.mixer")

    found = list(tensors())
    fp8 = {n.rpartition(".")[0]: "FP8" for n, dtype, _ in found if dtype == "F8_E4M3"}
    nvfp4 = {n.rpartition(".")[0]: "NVFP4" for n, dtype, _ in found if dtype == "U8"}
    config = {
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", **attn,
        "num_hidden_layers": len(SUPER_PATTERN),
        "hybrid_override_pattern": SUPER_PATTERN, "expand": 2, "conv_kernel": 4,
        "ssm_state_size": state, "mamba_num_heads": ssm_heads, "mamba_head_dim": 64,
        "n_groups": groups, "chunk_size": 128, "mamba_ssm_cache_dtype": "float32",
        "n_routed_experts": experts, "num_experts_per_tok": 22, "n_shared_experts": 1,
        "moe_intermediate_size": width, "moe_latent_size": latent,
        "moe_shared_expert_intermediate_size": shared, "routed_scaling_factor": 5.0,
        "norm_topk_prob": True, "mlp_hidden_act": "relu2", "vocab_size": 131072,
        "max_position_embeddings": 262144, "tie_word_embeddings": False,
        "quantization_config": mixed_config(experts_once({**fp8, **nvfp4}), kv=True),
    }  # fmt: skip
    return construct(
        "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4",
        found,
        config=config,
        sources=(
            "its own config, as public files quote it",
            "names: modelopt-0.47.0-nemotron-h in tests/data/headers",
            "names of the embeddings and the latent space: vLLM 0.32.0, nemotron_h.py",
            "NVFP4 and FP8 mixed is published; which module is which is assumed",
            "the draft layer is left out",
        ),
    )


def gemma_4_26b() -> Checkpoint:
    """Sliding windows and every sixth layer whole, where keys are values too."""
    hidden, layers, experts, width, dense = 2816, 30, 128, 704, 2112
    kinds = ["sliding_attention"] * 5 + ["full_attention"]

    def layer_attention(prefix: str, kind: str) -> Iterator[Tensor]:
        whole = kind == "full_attention"
        head, keys = (512, 2) if whole else (256, 8)
        yield from modelopt(f"{prefix}.q_proj", 16 * head, hidden)
        yield from modelopt(f"{prefix}.k_proj", keys * head, hidden)
        if not whole:
            yield from modelopt(f"{prefix}.v_proj", keys * head, hidden)
        yield from modelopt(f"{prefix}.o_proj", hidden, 16 * head)
        yield from plain(f"{prefix}.q_norm", head)
        yield from plain(f"{prefix}.k_norm", head)

    def tensors() -> Iterator[Tensor]:
        yield from plain("model.embed_tokens", 262144, hidden)
        yield from plain("model.norm", hidden)
        for number in range(layers):
            layer = f"model.layers.{number}"
            yield from layer_norms(layer, hidden)
            for name in (
                "pre_feedforward_layernorm", "pre_feedforward_layernorm_2",
                "post_feedforward_layernorm", "post_feedforward_layernorm_1",
                "post_feedforward_layernorm_2",
            ):  # fmt: skip
                yield from plain(f"{layer}.{name}", hidden)
            yield f"{layer}.layer_scalar", "BF16", (1,)
            yield from layer_attention(f"{layer}.self_attn", kinds[number % 6])
            yield from gated(f"{layer}.mlp", dense, hidden, modelopt)
            yield from plain(f"{layer}.router.proj", experts, hidden)
            yield f"{layer}.router.scale", "BF16", (hidden,)
            yield f"{layer}.router.per_expert_scale", "BF16", (experts,)
            for expert in range(experts):
                prefix = f"{layer}.experts.{expert}"
                yield from gated(prefix, width, hidden, modelopt)

    config = {
        "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text",
        "hidden_size": hidden, "intermediate_size": dense, "num_hidden_layers": layers,
        "num_attention_heads": 16, "num_key_value_heads": 8,
        "num_global_key_value_heads": 2, "head_dim": 256, "global_head_dim": 512,
        "attention_k_eq_v": True, "layer_types": kinds * (layers // 6),
        "sliding_window": 1024, "enable_moe_block": True, "num_experts": experts,
        "top_k_experts": 8, "moe_intermediate_size": width, "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 0, "hidden_activation": "gelu_pytorch_tanh",
        "vocab_size": 262144, "max_position_embeddings": 262144,
        "tie_word_embeddings": True,
        "quantization_config": modelopt_config(
            *(f"model.layers.{n}.router*" for n in range(layers))
        ),
    }  # fmt: skip
    return construct(
        "nvidia/Gemma-4-26B-A4B-NVFP4",
        tensors(),
        config=config,
        sources=(
            "google/gemma-4-26B-A4B, text_config, as public files quote it",
            "names and dtypes: modelopt-0.47.0-gemma-4 in tests/data/headers",
            "the language model alone; the vision tower is left out",
        ),
    )


def minimax_m2() -> Checkpoint:
    """As compressed-tensors: experts and attention NVFP4."""
    hidden, layers, experts, width = 3072, 62, 256, 1536
    c = {
        "head_dim": 128, "hidden_size": hidden, "num_attention_heads": 48,
        "num_key_value_heads": 8,
    }  # fmt: skip

    def tensors() -> Iterator[Tensor]:
        yield from ends(200064, hidden)
        for number in range(layers):
            layer = f"model.layers.{number}"
            yield from layer_norms(layer, hidden)
            norms = (48 * 128, 8 * 128)
            yield from attention(f"{layer}.self_attn", c, compressed, norms=norms)
            moe = f"{layer}.block_sparse_moe"
            yield from plain(f"{moe}.gate", experts, hidden)
            yield f"{moe}.e_score_correction_bias", "F32", (experts,)
            for expert in range(experts):
                yield from compressed(f"{moe}.experts.{expert}.w1", width, hidden)
                yield from compressed(f"{moe}.experts.{expert}.w2", hidden, width)
                yield from compressed(f"{moe}.experts.{expert}.w3", width, hidden)

    config = {
        "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2", **c,
        "intermediate_size": width, "num_hidden_layers": layers,
        "num_local_experts": experts, "num_experts_per_tok": 8, "hidden_act": "silu",
        "scoring_func": "sigmoid", "use_routing_bias": True, "use_qk_norm": True,
        "rotary_dim": 64, "vocab_size": 200064, "max_position_embeddings": 196608,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "quantization_config": compressed_config("re:.*block_sparse_moe.gate$"),
    }  # fmt: skip
    return construct(
        "RedHatAI/MiniMax-M2-NVFP4",
        tensors(),
        config=config,
        sources=(
            "MiniMaxAI/MiniMax-M2, config",
            "names: modelopt-0.47.0-minimax-m2 in tests/data/headers",
            "dtypes: llm-compressor-0.14.0.1-nvfp4, there too",
            "which modules are quantized is assumed; the draft layers are left out",
        ),
    )


CHECKPOINTS: dict[str, Callable[[], Checkpoint]] = {
    "deepseek-v3.1-nvfp4": deepseek_v3_1,
    "deepseek-v4-pro-nvfp4-fp8-mtp": make_deepseek_v4_pro.checkpoint,
    "gemma-4-26b-a4b-nvfp4": gemma_4_26b,
    "llama-3.1-8b-instruct-nvfp4": partial(
        llama, "nvidia/Llama-3.1-8B-Instruct-NVFP4", LLAMA_8B
    ),
    "llama-3.3-70b-instruct-nvfp4": partial(
        llama, "nvidia/Llama-3.3-70B-Instruct-NVFP4", LLAMA_70B
    ),
    "minimax-m2-nvfp4": minimax_m2,
    "nemotron-3-super-120b-a12b-nvfp4": nemotron_3_super,
    "qwen3-30b-a3b-nvfp4-redhat": partial(
        qwen3_moe, "RedHatAI/Qwen3-30B-A3B-NVFP4", QWEN3_30B, compressed
    ),
    "qwen3-235b-a22b-nvfp4": partial(
        qwen3_moe, "nvidia/Qwen3-235B-A22B-NVFP4", QWEN3_235B, modelopt
    ),
    "qwen3.6-35b-a3b-nvfp4": qwen3_6_35b,
}


if __name__ == "__main__":
    for name, make in CHECKPOINTS.items():
        write(name, make())
