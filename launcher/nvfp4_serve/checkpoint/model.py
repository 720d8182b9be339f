"""What config.json says of the model itself. Takes values; reads no file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.schema import ModelConfig, TextConfig, typed
from nvfp4_serve.checkpoint.types import Attention

#: Where models of several modalities keep the description of their language model.
_TEXT_CONFIGS: Final = ("text_config", "llm_config", "language_config")
#: Layers of these types keep keys and values of every token.
_FULL: Final = frozenset({"full_attention", "attention"})
#: These keep a state, or nothing. Others, such as sliding windows, keep some tokens.
_NONE: Final = frozenset({"linear_attention", "mamba", "mamba2", "conv", "moe", "mlp"})
#: What else marks layers that differ, in a way that is not counted here.
_UNCOUNTED: Final = (
    "mamba_d_state", "mamba_num_heads", "ssm_cfg", "linear_attn_config",
    "linear_num_key_heads", "layer_group_size", "attn_type_list", "block_types",
    "sliding_window_pattern", "attention_chunk_size", "hybrid_layer_pattern",
    "is_hybrid", "conv_L_cache",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """What config.json says of the model itself.

    Attributes:
        layers: Decoder layers; the prediction layers of MTP come after them.
        attention_heads: Heads of the queries.
    """

    architecture: str | None
    layers: int | None
    max_position_embeddings: int | None
    attention_heads: int | None
    attention: Attention | None
    needs_remote_code: bool


def read_model(config: Mapping[str, object]) -> Model:
    """Return what config.json says of the model."""
    said = text_config(config)
    text = typed(said, TextConfig, "config.json")
    names = typed(config, ModelConfig, "config.json").architectures
    return Model(
        architecture=names[0] if names else None,
        layers=text.num_hidden_layers,
        max_position_embeddings=text.max_position_embeddings,
        attention_heads=text.num_attention_heads,
        attention=_attention(text, said),
        needs_remote_code=bool(config.get("auto_map")),
    )


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the description of the language model."""
    for key in _TEXT_CONFIGS:
        text = config.get(key)
        if isinstance(text, Mapping):
            return text
    return config


def _attention(text: TextConfig, said: Mapping[str, object]) -> Attention | None:
    """Return what the KV cache depends on; None for latent and unknown attention."""
    heads = text.num_key_value_heads or text.num_attention_heads
    head_dim = text.head_dim or text.attention_head_dim
    if head_dim is None and text.hidden_size and text.num_attention_heads:
        head_dim = text.hidden_size // text.num_attention_heads
    layers = _attention_layers(text, said)
    latent = text.kv_lora_rank is not None or text.compress_ratios is not None
    if latent or not layers or not heads or not head_dim:
        return None
    return Attention(layers, heads, head_dim)


def _attention_layers(text: TextConfig, said: Mapping[str, object]) -> int | None:
    """Return how many layers keep every key and value; None where that is not known.

    The layers of a hybrid are told from each other by one key or another, each as the
    model's own code in vLLM 0.32.0 reads it.
    """
    kinds, layers = text.layer_types or text.layers_block_type, text.num_hidden_layers
    if kinds is not None:
        return sum(k in _FULL for k in kinds) if set(kinds) <= _FULL | _NONE else None
    if text.hybrid_override_pattern is not None:
        return text.hybrid_override_pattern.count("*")
    if text.attn_layer_indices is not None:
        return len(text.attn_layer_indices)
    if layers is None or _differ(said):
        return None
    if text.attn_layer_period:
        first = text.attn_layer_offset
        every = text.attn_layer_period
        return None if first is None else len(range(first, layers, every))
    return layers // (text.full_attention_interval or 1)


def _differ(said: Mapping[str, object]) -> bool:
    """Return whether the layers differ in a way that is not counted here."""
    slides = said.get("sliding_window") and said.get("use_sliding_window") is not False
    if said.get("full_attention_interval") or said.get("attn_layer_period"):
        return False
    return bool(slides) or any(said.get(key) for key in _UNCOUNTED)
