"""Every checkpoint that the matrix tries, as a description of its export."""

import json
from typing import Any, Final

from twins.environments import LLM_COMPRESSOR, MODELOPT_0_37, MODELOPT_0_43
from twins.exports import Export

#: All sides differ, and twelve experts, so that 10 comes before 2 in a wrong order.
_TEXT: Final[dict[str, Any]] = {
    "vocab_size": 288,
    "hidden_size": 160,
    "intermediate_size": 224,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_EXPERTS: Final[dict[str, Any]] = {
    "num_experts": 12,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
    "norm_topk_prob": True,
}


def _export(architecture: str, model_type: str, fields: Any, **more: Any) -> Export:
    return Export(
        architecture=architecture,
        model_type=model_type,
        config=json.dumps(fields, sort_keys=True),
        **more,
    )


def _qwen3_moe(**more: Any) -> Export:
    fields = {**_TEXT, **_EXPERTS, "decoder_sparse_step": 1, "mlp_only_layers": []}
    return _export("Qwen3MoeForCausalLM", "qwen3_moe", fields, **more)


QWEN3_MOE: Final = _qwen3_moe()
QWEN3_MOE_W4A16: Final = _qwen3_moe(recipe="W4A16_NVFP4_CFG")
#: On a CPU ModelOpt makes neither; the matrix keeps what it says.
QWEN3_MOE_AWQ: Final = _qwen3_moe(recipe="NVFP4_AWQ_LITE_CFG")
QWEN3_MOE_SVDQUANT: Final = _qwen3_moe(recipe="NVFP4_SVDQUANT_DEFAULT_CFG")
QWEN3_MOE_FP8_KV: Final = _qwen3_moe(kv_cache="FP8")
QWEN3_MOE_0_37: Final = _qwen3_moe(environment=MODELOPT_0_37)
QWEN3_MOE_COMPRESSED_EXPORT: Final = _qwen3_moe(
    environment=MODELOPT_0_37, save="compress, export"
)
QWEN3_MOE_STATE_DICT: Final = _qwen3_moe(
    environment=MODELOPT_0_37, save="compress, save_pretrained"
)
#: Only the experts are quantized, and compressed: what a stripped one does (below) is
#: then not noticed by vLLM's linear layers.
QWEN3_MOE_EXPERTS_0_37: Final = _qwen3_moe(
    environment=MODELOPT_0_37, leaves_out=("*self_attn*",)
)
QWEN3_MOE_EXPERTS_COMPRESSED_EXPORT: Final = _qwen3_moe(
    environment=MODELOPT_0_37, save="compress, export", leaves_out=("*self_attn*",)
)
QWEN3_MOE_CT: Final = _qwen3_moe(environment=LLM_COMPRESSOR, recipe="NVFP4")
QWEN3_MOE_CT_A16: Final = _qwen3_moe(environment=LLM_COMPRESSOR, recipe="NVFP4A16")
QWEN3: Final = _export("Qwen3ForCausalLM", "qwen3", _TEXT)
LLAMA: Final = _export(
    "LlamaForCausalLM",
    "llama",
    {**_TEXT, "num_attention_heads": 5, "num_key_value_heads": 1},
)

_VISION: Final = {
    "depth": 1,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 2,
    "out_hidden_size": 160,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}
_MROPE: Final = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "mrope_section": [8, 4, 4],
    "mrope_interleaved": True,
}


def _qwen3_vl_moe(**more: Any) -> Export:
    fields = {
        "text_config": {**_TEXT, **_EXPERTS, **more.pop("rope")},
        "vision_config": _VISION,
        "tie_word_embeddings": False,
        "image_token_id": 280,
        "video_token_id": 281,
        "vision_start_token_id": 282,
        "vision_end_token_id": 283,
    }
    return _export(
        "Qwen3VLMoeForConditionalGeneration",
        "qwen3_vl_moe",
        fields,
        leaves_out=("*visual*",),
        **more,
    )


QWEN3_VL_MOE: Final = _qwen3_vl_moe(rope={"rope_parameters": _MROPE})
QWEN3_VL_MOE_0_43: Final = _qwen3_vl_moe(
    rope={"rope_scaling": _MROPE, "rope_theta": 10000.0},
    environment=MODELOPT_0_43,
    save="export, experts unchecked",
)
DEEPSEEK_V3: Final = _export(
    "DeepseekV3ForCausalLM",
    "deepseek_v3",
    {
        **{k: v for k, v in _TEXT.items() if k != "head_dim"},
        "num_hidden_layers": 3,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 6,
        "moe_intermediate_size": 96,
        "n_routed_experts": 12,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "kv_lora_rank": 512,
        "q_lora_rank": 80,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 48,
        "v_head_dim": 48,
        # In the published config.json; transformers has them in its code.
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
    },
)
QWEN3_5_MOE: Final = _export(
    "Qwen3_5MoeForCausalLM",
    "qwen3_5_moe_text",
    {
        **{k: v for k, v in _TEXT.items() if k != "intermediate_size"},
        **_EXPERTS,
        "shared_expert_intermediate_size": 112,
        "linear_num_key_heads": 1,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "layer_types": ["linear_attention", "full_attention"],
    },
)
_LLAMA4: Final = {
    **_TEXT,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "intermediate_size": 96,
    "intermediate_size_mlp": 224,
    "num_local_experts": 12,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "attention_chunk_size": 128,
}
LLAMA4: Final = _export("Llama4ForCausalLM", "llama4_text", _LLAMA4)
LLAMA4_VISION: Final = _export(
    "Llama4ForConditionalGeneration",
    "llama4",
    {
        "text_config": _LLAMA4,
        "vision_config": {
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 256,
            "vision_output_dim": 96,
            "projector_input_dim": 96,
            "projector_output_dim": 96,
            "image_size": 56,
        },
        "tie_word_embeddings": False,
        "image_token_index": 280,
        "boi_token_index": 282,
        "eoi_token_index": 283,
    },
    leaves_out=("*vision*", "*multi_modal_projector*"),
)
GPT_OSS: Final = _export(
    "GptOssForCausalLM",
    "gpt_oss",
    {
        **_TEXT,
        "intermediate_size": 96,
        "num_local_experts": 12,
        "num_experts_per_tok": 2,
        "sliding_window": 64,
    },
)
GLM4_MOE: Final = _export(
    "Glm4MoeForCausalLM",
    "glm4_moe",
    {
        **_TEXT,
        "n_routed_experts": 12,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 96,
        "first_k_dense_replace": 1,
        "num_mtp_layers": 0,
        "num_nextn_predict_layers": 0,
    },
)
MINIMAX_M2: Final = _export(
    "MiniMaxM2ForCausalLM",
    "minimax_m2",
    {
        **_TEXT,
        "intermediate_size": 96,
        "num_local_experts": 12,
        "num_experts_per_tok": 2,
        # In the published config.json; transformers has them elsewhere.
        "rotary_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        "scoring_func": "sigmoid",
        "use_routing_bias": True,
    },
)
NEMOTRON_H: Final = _export(
    "NemotronHForCausalLM",
    "nemotron_h",
    {
        **_TEXT,
        "layers_block_type": ["mamba", "moe", "attention", "moe"],
        "n_routed_experts": 12,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 96,
        "moe_shared_expert_intermediate_size": 112,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
        "n_groups": 2,
        "chunk_size": 16,
        "use_mamba_kernels": False,
    },
)
GEMMA4: Final = _export(
    "Gemma4ForCausalLM",
    "gemma4_text",
    {
        **_TEXT,
        "tie_word_embeddings": True,
        "global_head_dim": 48,
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": 288,
        "enable_moe_block": True,
        "num_experts": 12,
        "top_k_experts": 2,
        "moe_intermediate_size": 96,
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"],
    },
)
