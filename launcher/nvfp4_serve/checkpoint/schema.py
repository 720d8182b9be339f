"""The keys of the configs that we read, and their types. Reads no file.

Source: the exports of nvidia-modelopt 0.47.0 and compressed-tensors 0.20, and vLLM
0.32.0, ``transformers_utils/config.py``.
"""

from typing import TypeVar

import msgspec

from nvfp4_serve.errors import CheckpointError

_T = TypeVar("_T")


class TextConfig(msgspec.Struct, frozen=True):
    """The keys of a language model's config that we read."""

    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    hidden_size: int | None = None
    head_dim: int | None = None
    attention_head_dim: int | None = None
    kv_lora_rank: int | None = None
    max_position_embeddings: int | None = None
    layer_types: tuple[str, ...] | None = None
    compress_ratios: object = None
    hybrid_override_pattern: str | None = None
    full_attention_interval: int | None = None
    attn_layer_period: int | None = None
    attn_layer_offset: int | None = None
    layers_block_type: tuple[str, ...] | None = None
    attn_layer_indices: tuple[int, ...] | None = None


class ModelConfig(msgspec.Struct, frozen=True):
    """The keys of config.json itself that we read."""

    architectures: tuple[str, ...] | None = None


class Values(msgspec.Struct, frozen=True):
    """How weights or activations are stored."""

    num_bits: int | None = None
    type: str | None = None
    group_size: int | None = None


class Group(msgspec.Struct, frozen=True):
    """One entry of ``config_groups``."""

    weights: Values | None = None
    input_activations: Values | None = None
    targets: tuple[str, ...] | None = None
    format: str | None = None


class ProducerConfig(msgspec.Struct, frozen=True):
    name: str | None = None
    version: str | None = None


class Layer(msgspec.Struct, frozen=True):
    """One entry of ``quantized_layers``."""

    quant_algo: str | None = None


class Quantization(msgspec.Struct, frozen=True):
    """``quantization_config``, or ``quantization`` of hf_quant_config.json."""

    quant_method: str | None = None
    quant_algo: str | None = None
    moe_quant_algo: str | None = None
    format: str | None = None
    group_size: int | None = None
    kv_cache_quant_algo: str | None = None
    kv_cache_scheme: Values | str | None = None
    config_groups: dict[str, Group] | None = None
    ignore: tuple[str, ...] | None = None
    exclude_modules: tuple[str, ...] | None = None
    modules_to_not_convert: tuple[str, ...] | None = None
    ignored_layers: tuple[str, ...] | None = None
    quantized_layers: dict[str, Layer] | None = None
    producer: ProducerConfig | None = None
    version: str | None = None


class LegacyConfig(msgspec.Struct, frozen=True):
    """hf_quant_config.json beside its ``quantization``."""

    producer: ProducerConfig | None = None


def typed(value: object, kind: type[_T], file: str) -> _T:
    """Return ``value`` as ``kind``, keys that ``kind`` does not name left out."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"`{file}` has a value of the wrong kind.",
            evidence=(str(error),),
            fix=f"Correct `{file}`, or take it from the original checkpoint.",
        ) from error
