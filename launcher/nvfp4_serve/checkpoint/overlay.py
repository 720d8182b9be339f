"""The quantization config that the tensors ask for, where it is certain. Pure.

The engine is given it in the place of the checkpoint's own. Nothing is guessed: where
the tensors allow of two readings, there is no overlay, and the findings say why.
"""

from collections.abc import Iterator
from typing import Final

from nvfp4_serve.checkpoint.encodings import FOREIGN, QUANTIZED, Encoding, weight_of
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.nvfp4 import NVFP4_BLOCK
from nvfp4_serve.checkpoint.types import Overlay

_HEAD: Final = "lm_head"
_VALUES: Final = {
    "dynamic": False,
    "num_bits": 4,
    "type": "float",
    "group_size": NVFP4_BLOCK,
}
_FP8_CACHE: Final = {"dynamic": False, "num_bits": 8, "type": "float"}


def make_overlay(evidence: Evidence) -> Overlay | None:
    """Return the config that is right; None where the files' own is, or none is."""
    if evidence.encodings & FOREIGN:
        return None
    if evidence.claim is None:
        return _from_tensors(evidence)
    return None


def _from_tensors(evidence: Evidence) -> Overlay | None:
    """Describe NVFP4 modules of which no config speaks, such as a state dict."""
    packed = tuple(evidence.stored_as(*QUANTIZED))
    inputs = {seen.has_input_scale for seen in packed}
    kinds = {seen.encoding for seen in packed}
    if kinds != {Encoding.MODELOPT_NVFP4} or len(inputs) != 1:
        return None
    ignore = _not_packed(evidence)
    if _hides(ignore, packed):
        return None
    weights_only = inputs == {False}
    group: dict[str, object] = {"weights": _VALUES, "targets": ["Linear"]}
    if not weights_only:
        group["input_activations"] = _VALUES
    algorithm = "W4A16_NVFP4" if weights_only else "NVFP4"
    config: dict[str, object] = {
        "quant_method": "modelopt",
        "quant_algo": algorithm,
        "config_groups": {"group_0": group},
        "ignore": ignore,
    }
    changes = [
        f"`quant_algo: {algorithm}`: no config speaks of a quantization, and every "
        f"packed weight is NVFP4 {'without' if weights_only else 'with'} input scales.",
        f"`ignore` names the {len(ignore):,} modules that are not packed.",
    ]
    if _has_cache_scales(evidence):
        config["kv_cache_scheme"] = _FP8_CACHE
        changes.append("`kv_cache_scheme`: FP8, for the scales of keys and values.")
    return Overlay(config, tuple(changes))


def _not_packed(evidence: Evidence) -> list[str]:
    """Return every module with a plain matrix, as ModelOpt's configs name them."""
    names = {_HEAD: None} if _head_is_plain(evidence) else {}
    for seen in evidence.stored_as(Encoding.PLAIN):
        if seen.label != "embeddings" and _has_matrix(seen):
            names |= dict.fromkeys(_ignored_names(seen))
    return list(names)


def _head_is_plain(evidence: Evidence) -> bool:
    heads = [seen for seen in evidence.seen if seen.label == "lm_head"]
    return all(seen.encoding is Encoding.PLAIN for seen in heads)


def _has_matrix(seen: Seen) -> bool:
    weight = weight_of(seen.group)
    tensors = (weight,) if weight is not None else seen.group.tensors
    return any(len(tensor.shape) > 1 for tensor in tensors)


def _ignored_names(seen: Seen) -> Iterator[str]:
    """Yield the layer of all experts, and any other module as it is."""
    if "*" in seen.group.name:
        yield seen.group.name.partition(".*")[0]
    else:
        yield from seen.group.members


def _hides(ignore: list[str], packed: tuple[Seen, ...]) -> bool:
    """Return whether vLLM would take a packed module for one that is ignored.

    It does so where what is ignored is a part of the name (0.32.0, ``modelopt.py``,
    ``is_layer_excluded``); ``gate`` is a part of ``gate_up_proj``.
    """
    fused = (("gate_proj", "gate_up_proj"), ("q_proj", "qkv_proj"))
    names = [seen.group.example for seen in packed]
    names += [n.replace(old, new) for n in names for old, new in fused if old in n]
    return any(part in name for name in names for part in ignore)


def _has_cache_scales(evidence: Evidence) -> bool:
    suffixes = ("k_scale", "v_scale")
    return any(seen.group.tensor(s) for seen in evidence.seen for s in suffixes)
