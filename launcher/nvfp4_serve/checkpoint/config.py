"""What config.json and hf_quant_config.json say. Takes values; reads no file.

The quantization that they describe is a claim; ``findings`` holds it against the
tensors. ``schema`` has the keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.schema import (
    Group,
    LegacyConfig,
    ModelConfig,
    Quantization,
    TextConfig,
    typed,
)
from nvfp4_serve.checkpoint.types import Attention, Checkpoint, Producer

#: Where models of several modalities keep the description of their language model.
_TEXT_CONFIGS: Final = ("text_config", "llm_config", "language_config")
#: Layers of these types keep keys and values; the others keep a state instead.
_WITH_KV_CACHE: Final = {"full_attention", "sliding_attention", "chunked_attention"}
_WITHOUT_KV_CACHE: Final = {"linear_attention", "mamba", "conv"}


@dataclass(frozen=True, slots=True)
class Model:
    """What config.json says of the model itself.

    Attributes:
        layers: Decoder layers; the prediction layers of MTP come after them.
    """

    architecture: str | None
    layers: int | None
    max_position_embeddings: int | None
    attention: Attention | None
    needs_remote_code: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What the configs say of the quantization.

    Attributes:
        file: The file that says it.
        method: ``quant_method``: ``modelopt``, ``compressed-tensors``, ``fp8``, ...
        algorithm: ``NVFP4``, ``W4A16_NVFP4``, ``FP8``, ``MIXED_PRECISION``, ...; for
            compressed-tensors the same words, from its format.
        experts: The algorithm of the routed experts, where it is named for itself.
        group_sizes: Every size of a group that is named, sorted.
        quantizes_inputs: Whether activations are quantized too; None: not said.
        ignore: Modules that are not quantized: names, globs, ``re:`` patterns.
        targets: What is quantized, where that is not every linear module.
        kv_cache: ``FP8``, ``NVFP4``, another word of the config, or None.
    """

    file: str
    method: str | None
    algorithm: str | None
    experts: str | None
    group_sizes: tuple[int, ...]
    quantizes_inputs: bool | None
    ignore: tuple[str, ...]
    targets: tuple[str, ...]
    kv_cache: str | None
    producer: Producer | None

    @property
    def nvfp4(self) -> bool:
        """Whether it says that every module is NVFP4 but those that it ignores."""
        return self.algorithm in ("NVFP4", "W4A16_NVFP4")


def read_model(config: Mapping[str, object]) -> Model:
    """Return what config.json says of the model."""
    text = typed(_text_config(config), TextConfig, "config.json")
    names = typed(config, ModelConfig, "config.json").architectures
    return Model(
        architecture=names[0] if names else None,
        layers=text.num_hidden_layers,
        max_position_embeddings=text.max_position_embeddings,
        attention=_attention(text),
        needs_remote_code=bool(config.get("auto_map")),
    )


def read_claim(checkpoint: Checkpoint) -> Claim | None:
    """Return what is claimed; None where no config speaks of a quantization.

    vLLM asks config.json first, and hf_quant_config.json only where config.json says
    nothing (0.32.0, ``transformers_utils/config.py``); so do we.
    """
    producer = _legacy_producer(checkpoint.hf_quant_config)
    section = _quantization_section(checkpoint.config)
    if section is not None:
        return _claim(section, "config.json", producer)
    legacy = checkpoint.hf_quant_config
    if legacy is None or legacy.get("quantization") is None:
        return None
    return _claim(legacy["quantization"], "hf_quant_config.json", producer)


def legacy_algorithm(checkpoint: Checkpoint) -> str | None:
    """Return the ``quant_algo`` of hf_quant_config.json, if it has one."""
    legacy = checkpoint.hf_quant_config
    if legacy is None or legacy.get("quantization") is None:
        return None
    section = typed(legacy["quantization"], Quantization, "hf_quant_config.json")
    return section.quant_algo


def _quantization_section(config: Mapping[str, object]) -> object:
    for holder in (config, _text_config(config)):
        for key in ("quantization_config", "compression_config"):
            if holder.get(key) is not None:
                return holder[key]
    return None


def _claim(section: object, file: str, producer: Producer | None) -> Claim:
    said = typed(section, Quantization, file)
    groups = tuple((said.config_groups or {}).values())
    sizes = {said.group_size} | {g.weights.group_size for g in groups if g.weights}
    algorithm = said.quant_algo or _format_algorithm(said, groups)
    if said.producer is not None and said.producer.name is not None:
        producer = Producer(said.producer.name, said.producer.version)
    return Claim(
        file=file,
        method=said.quant_method,
        algorithm=algorithm,
        experts=said.moe_quant_algo,
        group_sizes=tuple(sorted(size for size in sizes if size is not None)),
        quantizes_inputs=_quantizes_inputs(algorithm, groups),
        ignore=(*(said.ignore or ()), *(said.exclude_modules or ())),
        targets=_narrow_targets(groups, said.quantized_layers),
        kv_cache=_kv_cache(said),
        producer=producer or _library(said),
    )


def _format_algorithm(said: Quantization, groups: tuple[Group, ...]) -> str | None:
    """Return the algorithm of a config that names a format, as ModelOpt names it."""
    formats = {said.format} | {group.format for group in groups}
    words = {
        "nvfp4-pack-quantized": "NVFP4",
        "float-quantized": "FP8",
        "mxfp4-pack-quantized": "MXFP4",
    }
    known = sorted({words[name] for name in formats if name in words})
    if said.quant_method in ("fp8", "mxfp4"):
        return said.quant_method.upper()
    if len(known) > 1:
        return "MIXED_PRECISION"
    if known == ["NVFP4"] and _quantizes_inputs("NVFP4", groups) is False:
        return "W4A16_NVFP4"
    return known[0] if known else None


def _quantizes_inputs(algorithm: str | None, groups: tuple[Group, ...]) -> bool | None:
    """Return whether activations are quantized.

    ``quant_algo: NVFP4`` with every ``input_activations`` null means weights only:
    vLLM 0.32.0, ``modelopt.py``.
    """
    if algorithm == "W4A16_NVFP4":
        return False
    described = [group for group in groups if group.weights is not None]
    if described:
        return any(group.input_activations is not None for group in described)
    return True if algorithm == "NVFP4" else None


def _narrow_targets(
    groups: tuple[Group, ...], layers: Mapping[str, object] | None
) -> tuple[str, ...]:
    named = {target for group in groups for target in group.targets or ()}
    return tuple(sorted((named - {"Linear"}) | set(layers or ())))


def _kv_cache(said: Quantization) -> str | None:
    if said.kv_cache_quant_algo:
        return said.kv_cache_quant_algo.upper()
    scheme = said.kv_cache_scheme
    if scheme is None or isinstance(scheme, str):
        return scheme.upper() if scheme else None
    return {8: "FP8", 4: "NVFP4"}.get(
        scheme.num_bits or 0, f"{scheme.num_bits}-bit {scheme.type}"
    )


def _library(said: Quantization) -> Producer | None:
    """Return compressed-tensors, which names itself as the method."""
    if said.quant_method != "compressed-tensors":
        return None
    return Producer(said.quant_method, said.version)


def _legacy_producer(legacy: Mapping[str, object] | None) -> Producer | None:
    if legacy is None:
        return None
    said = typed(legacy, LegacyConfig, "hf_quant_config.json").producer
    if said is None or said.name is None:
        return None
    return Producer(said.name, said.version)


def _text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    for key in _TEXT_CONFIGS:
        text = config.get(key)
        if isinstance(text, Mapping):
            return text
    return config


def _attention(text: TextConfig) -> Attention | None:
    """Return what the KV cache depends on; None for latent and unknown attention."""
    heads = text.num_key_value_heads or text.num_attention_heads
    head_dim = text.head_dim
    if head_dim is None and text.hidden_size and text.num_attention_heads:
        head_dim = text.hidden_size // text.num_attention_heads
    layers = _layers_with_kv_cache(text)
    latent = text.kv_lora_rank is not None or text.compress_ratios is not None
    if latent or not layers or not heads or not head_dim:
        return None
    return Attention(layers, heads, head_dim)


def _layers_with_kv_cache(text: TextConfig) -> int | None:
    if text.layer_types is None:
        return text.num_hidden_layers
    if not set(text.layer_types) <= _WITH_KV_CACHE | _WITHOUT_KV_CACHE:
        return None
    return sum(kind in _WITH_KV_CACHE for kind in text.layer_types)
