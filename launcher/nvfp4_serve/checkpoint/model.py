"""What config.json says of the model itself. Takes values; reads no file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.kv import linear_heads, read_kv
from nvfp4_serve.checkpoint.schema import (
    ModelConfig,
    SizeConfig,
    TextConfig,
    sizes,
    typed,
)
from nvfp4_serve.checkpoint.shapes import KvShape, Widths

#: Where models of several modalities keep the description of their language model.
_TEXT_CONFIGS: Final = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True, slots=True)
class Model:
    """What config.json says of the model itself.

    Attributes:
        layers: Decoder layers; the prediction layers of MTP come after them.
        attention_heads: Heads of the queries.
        kv_heads: Heads of keys and values; of the layers with the fewest.
        is_tied: The head is the table of the embeddings.
    """

    architecture: str | None
    layers: int | None
    max_position_embeddings: int | None
    attention_heads: int | None
    kv_heads: int | None
    kv: KvShape | None
    widths: Widths
    is_tied: bool
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
        kv_heads=text.num_key_value_heads or text.num_attention_heads,
        kv=read_kv(text, said),
        widths=_widths(text, sizes(said)),
        is_tied=bool(
            said.get("tie_word_embeddings", config.get("tie_word_embeddings"))
        ),
        needs_remote_code=bool(config.get("auto_map")),
    )


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the description of the language model."""
    for key in _TEXT_CONFIGS:
        text = config.get(key)
        if isinstance(text, Mapping):
            return text
    return config


def _widths(text: TextConfig, size: SizeConfig) -> Widths:
    """Return the sizes of the layers; of two keys for one thing the one that is there.

    A mixture without ``moe_intermediate_size`` (Mixtral, gpt-oss, MiniMax-M2) means its
    experts by ``intermediate_size``.
    """
    experts = size.n_routed_experts or size.num_experts or size.num_local_experts
    plain = size.intermediate_size_mlp or size.intermediate_size
    expert = size.moe_intermediate_size or size.intermediate_size if experts else None
    return Widths(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=plain,
        vocabulary=size.vocab_size,
        expert_intermediate=expert,
        experts=experts,
        experts_per_token=size.num_experts_per_tok or size.top_k_experts,
        linear_heads=linear_heads(size),
    )
