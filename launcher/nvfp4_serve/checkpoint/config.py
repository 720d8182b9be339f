"""What the configs say of the quantization. Takes values; reads no file.

It is a claim; ``findings`` holds it against the tensors. ``schema`` has the keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.model import text_config
from nvfp4_serve.checkpoint.schema import Group, LegacyConfig, Quantization, typed
from nvfp4_serve.checkpoint.types import Checkpoint, Producer

QUANT_CONFIG: Final = "hf_quant_config.json"
#: The formats of compressed-tensors, and ModelOpt's word for each.
_FORMATS: Final = {
    "nvfp4-pack-quantized": "NVFP4",
    "float-quantized": "FP8",
    "mxfp4-pack-quantized": "MXFP4",
}
#: Bits and size of a group of float weights, where no format is named.
_BY_BITS: Final[Mapping[tuple[int, int | None], str]] = {
    (8, None): "FP8",
    (8, 128): "FP8",
    (4, 16): "NVFP4",
    (4, 32): "MXFP4",
}


@dataclass(frozen=True, slots=True)
class GroupClaim:
    """What one entry of ``config_groups`` says.

    Attributes:
        targets: ``Linear``, another class, names of modules, ``re:`` patterns.
        algorithm: As in ``Claim``; None: it is not known here.
        quantizes_inputs: Whether activations are quantized too.
    """

    targets: tuple[str, ...]
    algorithm: str | None
    quantizes_inputs: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What the configs say of the quantization.

    Attributes:
        file: The file that says it.
        method: ``quant_method``: ``modelopt``, ``compressed-tensors``, ``fp8``, ...
        algorithm: ``NVFP4``, ``W4A16_NVFP4``, ``FP8``, ``MIXED_PRECISION``, ..., in
            capitals; for compressed-tensors the same words, from its format.
        experts: The algorithm of the routed experts, where it is named for itself.
        group_sizes: Every size of a group that is named, sorted.
        quantizes_inputs: Whether activations are quantized too; None: not said.
        ignore: Modules that are not quantized: names, globs, ``re:`` patterns.
        layers: Module to algorithm, where the config names each module.
        groups: What is said of groups of modules, in compressed-tensors' way.
        kv_cache: ``FP8``, ``NVFP4``, another word of the config, or None.
    """

    file: str
    method: str | None
    algorithm: str | None
    experts: str | None
    group_sizes: tuple[int, ...]
    quantizes_inputs: bool | None
    ignore: tuple[str, ...]
    layers: Mapping[str, str]
    groups: tuple[GroupClaim, ...]
    kv_cache: str | None
    producer: Producer | None

    @property
    def family(self) -> str | None:
        """The part of vLLM that reads it; None: one that is not known here."""
        if self.method is None:
            return "modelopt" if self.file == QUANT_CONFIG else None
        if self.method.startswith("modelopt"):
            return "modelopt"
        known = ("compressed-tensors", "fp8", "mxfp4")
        return self.method if self.method in known else None

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every pattern that modules are held against."""
        return (*self.ignore, *(t for group in self.groups for t in group.targets))

    @property
    def nvfp4(self) -> bool:
        """Whether it says that every module is NVFP4 but those that it ignores."""
        return self.algorithm in ("NVFP4", "W4A16_NVFP4")


def read_claim(checkpoint: Checkpoint) -> Claim | None:
    """Return what is claimed; None where no config speaks of a quantization.

    vLLM asks config.json first, and hf_quant_config.json only where config.json says
    nothing (0.32.0, ``transformers_utils/config.py``); so do we.
    """
    producer = legacy_producer(checkpoint)
    legacy = _legacy_section(checkpoint)
    section = quantization_section(checkpoint.config)
    if section is not None:
        said = typed(section, Quantization, "config.json")
        return _claim(said, "config.json", producer, legacy)
    return _claim(legacy, QUANT_CONFIG, producer, None) if legacy else None


def legacy_algorithm(checkpoint: Checkpoint) -> str | None:
    """Return the ``quant_algo`` of hf_quant_config.json, if it has one."""
    section = _legacy_section(checkpoint)
    return _upper(section.quant_algo) if section is not None else None


def legacy_producer(checkpoint: Checkpoint) -> Producer | None:
    """Return the producer that hf_quant_config.json names, if it does."""
    if checkpoint.hf_quant_config is None:
        return None
    said = typed(checkpoint.hf_quant_config, LegacyConfig, QUANT_CONFIG).producer
    if said is None or said.name is None:
        return None
    return Producer(said.name, said.version)


def _legacy_section(checkpoint: Checkpoint) -> Quantization | None:
    legacy = checkpoint.hf_quant_config
    if legacy is None or legacy.get("quantization") is None:
        return None
    return typed(legacy["quantization"], Quantization, QUANT_CONFIG)


def quantization_section(config: Mapping[str, object]) -> object:
    """Return what config.json says of the quantization, where vLLM looks for it."""
    for holder in (config, text_config(config)):
        for key in ("quantization_config", "compression_config"):
            if holder.get(key) is not None:
                return holder[key]
    return None


def _claim(
    said: Quantization,
    file: str,
    producer: Producer | None,
    legacy: Quantization | None,
) -> Claim:
    """Return the claim of ``said``.

    ``legacy`` is hf_quant_config.json beside it: older exports name the layers of
    ``MIXED_PRECISION`` there, and vLLM takes the excluded modules from there then
    (0.32.0, ``weight_utils.py``).
    """
    groups = tuple((said.config_groups or {}).values())
    sizes = {said.group_size} | {g.weights.group_size for g in groups if g.weights}
    algorithm = _upper(said.quant_algo) or _format_algorithm(said, groups)
    if said.producer is not None and said.producer.name is not None:
        producer = Producer(said.producer.name, said.producer.version)
    mixed = algorithm == "MIXED_PRECISION" and not said.quantized_layers
    names = legacy if mixed and legacy and legacy.quantized_layers else said
    return Claim(
        file=file,
        method=_method(said),
        algorithm=algorithm,
        experts=_upper(said.moe_quant_algo),
        group_sizes=tuple(sorted(size for size in sizes if size is not None)),
        quantizes_inputs=_quantizes_inputs(algorithm, groups),
        ignore=_ignored(names, in_legacy=names is legacy or file == QUANT_CONFIG),
        layers={
            name: layer.quant_algo.upper()
            for name, layer in (names.quantized_layers or {}).items()
            if layer.quant_algo
        },
        groups=tuple(_group(said, group) for group in groups),
        kv_cache=_kv_cache(said),
        producer=producer or _library(said),
    )


def _upper(word: str | None) -> str | None:
    """Return an algorithm in capitals: vLLM compares it so."""
    return word.upper() if word else None


def _method(said: Quantization) -> str | None:
    if not said.quant_method:
        return None
    return said.quant_method.lower().replace("compressed_tensors", "compressed-tensors")


def _ignored(said: Quantization, *, in_legacy: bool) -> tuple[str, ...]:
    """Return what is excluded, under the keys that vLLM reads, and no others.

    vLLM 0.32.0, ``quantization/modelopt.py`` and ``compressed_tensors.py``,
    ``from_config``; DeepSeek-V4 reads two of the others in two places.
    """
    method = _method(said) or ""
    if in_legacy:
        return said.exclude_modules or ()
    if method.startswith("modelopt") or method == "compressed-tensors":
        return said.ignore or ()
    lists = (said.ignore, said.modules_to_not_convert, said.ignored_layers)
    return tuple(name for names in lists for name in names or ())


def _group(said: Quantization, group: Group) -> GroupClaim:
    weights, inputs = group.weights, group.input_activations is not None
    algorithm = _FORMATS.get(group.format or said.format or "")
    if algorithm is None and weights is not None and weights.type == "float":
        algorithm = _BY_BITS.get((weights.num_bits or 0, weights.group_size))
    if algorithm == "NVFP4" and not inputs:
        algorithm = "W4A16_NVFP4"
    return GroupClaim(group.targets or (), algorithm, inputs)


def _format_algorithm(said: Quantization, groups: tuple[Group, ...]) -> str | None:
    """Return the algorithm of a config that names a format, as ModelOpt names it."""
    formats = {said.format} | {group.format for group in groups}
    known = sorted({_FORMATS[name] for name in formats if name in _FORMATS})
    if _method(said) in ("fp8", "mxfp4"):
        return str(_method(said)).upper()
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
