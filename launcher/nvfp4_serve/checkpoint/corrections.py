"""What to change in a quantization config that contradicts the tensors. Pure.

Each correction takes the evidence and the config so far, changes the config, and yields
a sentence for each change. Only what is certain is corrected.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from nvfp4_serve.checkpoint.config import QUANT_CONFIG
from nvfp4_serve.checkpoint.encodings import NVFP4, Encoding
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.layers import ignored_names, layer_of
from nvfp4_serve.checkpoint.mismatches import lacks, severity_of, undeclared_draft

#: As msgspec and json read it.
Config = dict[str, Any]

FP8_CACHE: Final = {"dynamic": False, "num_bits": 8, "type": "float"}
#: Keys of hf_quant_config.json that config.json has under another name, or not.
_LEGACY_ONLY: Final = ("exclude_modules", "quant_algo", "kv_cache_quant_algo")
_DRAFT: Final = "mtp.*"


def from_legacy(evidence: Evidence) -> tuple[Config, list[str]] | None:
    """Return hf_quant_config.json in the form of config.json, where that matters.

    vLLM 0.32.0 refuses ``W4A16_NVFP4`` in the first and takes it from the second
    (``transformers_utils/model_arch_config_convertor.py``).
    """
    claim, legacy = evidence.claim, evidence.checkpoint.hf_quant_config
    if claim is None or legacy is None or claim.file != QUANT_CONFIG:
        return None
    said = legacy.get("quantization")
    if not isinstance(said, dict) or not claim.nvfp4:
        return None
    if claim.kv_cache not in (None, "FP8"):
        return None
    config = {key: said[key] for key in said if key not in _LEGACY_ONLY}
    config |= {"quant_method": "modelopt", "quant_algo": claim.algorithm}
    config["ignore"] = list(claim.ignore)
    if claim.kv_cache == "FP8":
        config["kv_cache_scheme"] = FP8_CACHE
    if claim.producer is not None:
        producer = {"name": claim.producer.name, "version": claim.producer.version}
        config["producer"] = producer
    change = f"All of it is taken from {QUANT_CONFIG}, in the form of config.json"
    if claim.algorithm == "W4A16_NVFP4":
        change += ": vLLM does not take `quant_algo: W4A16_NVFP4` from the first"
    return config, [f"{change}."]


def weights_only(evidence: Evidence, config: Config) -> Iterator[str]:
    """Say W4A16 where W4A4 is claimed, and nothing has a scale for its inputs."""
    claim = evidence.claim
    packed = [seen for seen in evidence.stored_as(*NVFP4) if seen.label != "mtp"]
    if claim is None or not packed or any(s.has_input_scale for s in packed):
        return
    if not any(s.expected and s.expected.quantizes_inputs for s in packed):
        return
    if claim.family == "modelopt" and claim.algorithm == "NVFP4":
        config["quant_algo"] = "W4A16_NVFP4"
        yield (
            "`quant_algo: W4A16_NVFP4` instead of NVFP4: no packed weight has an "
            "`input_scale`, so only weights are quantized."
        )
    elif claim.family == "compressed-tensors" and claim.algorithm == "NVFP4":
        yield (
            "`input_activations: null`: no packed weight has an `input_global_scale`, "
            "so only weights are quantized."
        )
    else:
        return
    groups = config.get("config_groups") or {}
    for group in groups.values():
        if claim.family == "compressed-tensors":
            group["input_activations"] = None
        else:
            group.pop("input_activations", None)


def plain_modules(evidence: Evidence, config: Config) -> Iterator[str]:
    """Name in ``ignore`` what is stored plain, and what the config calls packed."""
    claim = evidence.claim
    if claim is None or claim.family not in ("modelopt", "compressed-tensors"):
        return
    packed = [s for s in evidence.seen if s.encoding is not Encoding.PLAIN]
    plain = [
        s
        for s in evidence.stored_as(Encoding.PLAIN)
        if lacks(s, evidence) and severity_of(s) is not None
    ]
    layers = {layer_of(seen) for seen in packed}
    if not plain or not packed or any(layer_of(seen) in layers for seen in plain):
        return
    names = list(dict.fromkeys(name for seen in plain for name in ignored_names(seen)))
    if claim.family == "modelopt" and hides(names, packed):
        return
    config["ignore"] = [*(config.get("ignore") or []), *names]
    shown = ", ".join(f"`{name}`" for name in names[:3])
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    yield f"`ignore` has {shown}{more} too: stored as plain weights."


def draft_experts(evidence: Evidence, config: Config) -> Iterator[str]:
    """Except the prediction layers of DeepSeek-V4 from NVFP4 where they are MXFP4.

    vLLM 0.32.0, ``models/deepseek_v41/quant_config.py``: where no pattern of
    ``ignore`` matches ``mtp.0.ffn.experts``, those experts are built NVFP4, take the
    MXFP4 bytes without an error, and guess nothing right.
    """
    if undeclared_draft(evidence):
        config["ignore"] = [*(config.get("ignore") or []), _DRAFT]
        yield (
            f"`ignore` has `{_DRAFT}` too: the experts of the prediction layers are "
            "MXFP4, and those of the trunk NVFP4."
        )


def hides(ignore: list[str], packed: list[Seen]) -> bool:
    """Return whether vLLM would take a packed module for one that is ignored.

    It does so where what is ignored is a part of the name (0.32.0, ``modelopt.py``,
    ``is_layer_excluded``); ``gate`` is a part of ``gate_up_proj``.
    """
    fused = (("gate_proj", "gate_up_proj"), ("q_proj", "qkv_proj"))
    names = [seen.group.example for seen in packed]
    names += [n.replace(old, new) for n in names for old, new in fused if old in n]
    text = "\n".join(names)
    return any(part in text for part in ignore)


CORRECTIONS: Final[tuple[Callable[[Evidence, Config], Iterator[str]], ...]] = (
    weights_only,
    plain_modules,
    draft_experts,
)
