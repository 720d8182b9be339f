"""The quantization config that the tensors ask for, where it is certain. Pure.

The engine is given it in the place of the checkpoint's own. Nothing is guessed: where
the tensors allow of two readings, there is no overlay, and the findings say why.
"""

import copy
from collections.abc import Mapping
from typing import Final

from nvfp4_serve.checkpoint.config import QUANT_CONFIG, quantization_section
from nvfp4_serve.checkpoint.corrections import (
    CORRECTIONS,
    FP8_CACHE,
    Config,
    from_legacy,
    hides,
)
from nvfp4_serve.checkpoint.encodings import FOREIGN, QUANTIZED, Encoding, weight_of
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.layers import ignored_names
from nvfp4_serve.checkpoint.nvfp4 import NVFP4_BLOCK
from nvfp4_serve.checkpoint.types import Overlay

_HEAD: Final = "lm_head"
_VALUES: Final[Mapping[str, object]] = {
    "dynamic": False,
    "num_bits": 4,
    "type": "float",
    "group_size": NVFP4_BLOCK,
}


def make_overlay(evidence: Evidence) -> Overlay | None:
    """Return the config that is right; None where the files' own is, or none is."""
    if evidence.encodings & FOREIGN:
        return None
    if evidence.claim is None:
        return _from_tensors(evidence)
    if not evidence.encodings & QUANTIZED:
        return None
    return _corrected(evidence)


def _corrected(evidence: Evidence) -> Overlay | None:
    """Correct the config that there is."""
    changes: list[str] = []
    section = quantization_section(evidence.checkpoint.config)
    if isinstance(section, Mapping):
        config: Config = copy.deepcopy(dict(section))
    else:
        legacy = from_legacy(evidence)
        if legacy is None:
            return None
        config, reasons = legacy
        # As it stands it is taken: what else is wrong decides.
        changes += reasons
    own = len(changes)
    for correct in CORRECTIONS:
        changes += correct(evidence, config)
    if len(changes) == own and not _is_refused_as_it_stands(evidence):
        return None
    return Overlay(config, tuple(changes))


def _is_refused_as_it_stands(evidence: Evidence) -> bool:
    claim = evidence.claim
    return (
        claim is not None
        and claim.file == QUANT_CONFIG
        and claim.algorithm == "W4A16_NVFP4"
    )


def _from_tensors(evidence: Evidence) -> Overlay | None:
    """Describe NVFP4 modules of which no config speaks, such as a state dict."""
    packed = list(evidence.stored_as(*QUANTIZED))
    inputs = {seen.has_input_scale for seen in packed}
    kinds = {seen.encoding for seen in packed}
    if kinds != {Encoding.MODELOPT_NVFP4} or len(inputs) != 1:
        return None
    ignore = _not_packed(evidence)
    if hides(ignore, packed):
        return None
    group: Config = {"weights": _VALUES, "targets": ["Linear"]}
    algorithm, scales = "W4A16_NVFP4", "without"
    if inputs == {True}:
        group["input_activations"] = _VALUES
        algorithm, scales = "NVFP4", "with"
    config: Config = {
        "quant_method": "modelopt",
        "quant_algo": algorithm,
        "config_groups": {"group_0": group},
        "ignore": ignore,
    }
    speaks = f"`quant_algo: {algorithm}`: no config speaks of a quantization, and "
    changes = [
        f"{speaks}every packed weight is NVFP4 {scales} an input scale.",
        f"`ignore` names the {len(ignore):,} modules that are not packed.",
    ]
    if _has_cache_scales(evidence):
        config["kv_cache_scheme"] = FP8_CACHE
        changes.append("`kv_cache_scheme`: FP8, for the scales of keys and values.")
    return Overlay(config, tuple(changes))


def _not_packed(evidence: Evidence) -> list[str]:
    """Return every module with a plain matrix, as ModelOpt's configs name them."""
    heads = [seen for seen in evidence.seen if seen.label == "lm_head"]
    is_plain = all(seen.encoding is Encoding.PLAIN for seen in heads)
    # Named even where it is not stored, and is the embedding.
    names = {_HEAD: None} if is_plain else {}
    for seen in evidence.stored_as(Encoding.PLAIN):
        if seen.label != "embeddings" and _has_matrix(seen):
            names |= dict.fromkeys(ignored_names(seen))
    return list(names)


def _has_matrix(seen: Seen) -> bool:
    weight = weight_of(seen.group)
    tensors = (weight,) if weight is not None else seen.group.tensors
    return any(len(tensor.shape) > 1 for tensor in tensors)


def _has_cache_scales(evidence: Evidence) -> bool:
    suffixes = ("k_scale", "v_scale")
    return any(seen.group.tensor(s) for seen in evidence.seen for s in suffixes)
