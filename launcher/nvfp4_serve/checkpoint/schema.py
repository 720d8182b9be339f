"""The keys of the configs that we read, and their types. Reads no file.

Source: the exports of nvidia-modelopt 0.47.0 and compressed-tensors 0.20, and vLLM
0.32.0, ``transformers_utils/config.py``.
"""

from collections.abc import Mapping
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


class SizeConfig(msgspec.Struct, frozen=True):
    """The keys that say how much memory a model takes; see ``sizes``."""

    num_kv_shared_layers: int | None = None
    num_global_key_value_heads: int | None = None
    global_head_dim: int | None = None
    v_head_dim: int | None = None
    qk_rope_head_dim: int | None = None
    index_head_dim: int | None = None
    sliding_window: int | None = None
    attention_chunk_size: int | None = None
    linear_num_key_heads: int | None = None
    linear_num_value_heads: int | None = None
    linear_key_head_dim: int | None = None
    linear_value_head_dim: int | None = None
    linear_conv_kernel_dim: int | None = None
    mamba_ssm_dtype: str | None = None
    mamba_num_heads: int | None = None
    mamba_head_dim: int | None = None
    mamba_ssm_cache_dtype: str | None = None
    n_groups: int | None = None
    ssm_state_size: int | None = None
    conv_kernel: int | None = None
    num_nextn_predict_layers: int | None = None
    mtp_num_hidden_layers: int | None = None
    vocab_size: int | None = None
    intermediate_size: int | None = None
    intermediate_size_mlp: int | None = None
    moe_intermediate_size: int | None = None
    n_routed_experts: int | None = None
    num_experts: int | None = None
    num_local_experts: int | None = None
    num_experts_per_tok: int | None = None
    top_k_experts: int | None = None


def sizes(text: Mapping[str, object]) -> SizeConfig:
    """Return the sizes in ``text``; one that is no number or name is left out.

    Some models have a list where others have a number (Gemma 3n: ``intermediate_size``
    by layer). That is no fault, and what hangs on it is then not known.
    """
    known = SizeConfig.__struct_fields__
    plain = {key: text[key] for key in known if type(text.get(key)) in (int, str)}
    try:
        return msgspec.convert(plain, SizeConfig)
    except msgspec.ValidationError:
        numbers = {key: value for key, value in plain.items() if type(value) is int}
        return msgspec.convert(numbers, SizeConfig)


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
