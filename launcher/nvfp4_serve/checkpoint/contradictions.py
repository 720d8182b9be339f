"""Where the config says one thing and the tensors another. Pure.

Part of ``findings``; kept apart because it is about the config, not about a format.
"""

from collections.abc import Callable, Iterator
from typing import Final

from nvfp4_serve.checkpoint.config import (
    QUANT_CONFIG,
    Claim,
    legacy_algorithm,
    legacy_producer,
)
from nvfp4_serve.checkpoint.encodings import NVFP4, QUANTIZED
from nvfp4_serve.checkpoint.evidence import Evidence
from nvfp4_serve.checkpoint.nvfp4 import NVFP4_BLOCK
from nvfp4_serve.finding import Finding, Severity

#: What vLLM 0.32.0 takes from config.json (``quantization/modelopt.py``).
_ALGORITHMS: Final = frozenset(
    {
        "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4",
        "MXFP8", "MIXED_PRECISION",
    }
)  # fmt: skip
#: What it takes where hf_quant_config.json stands alone
#: (``transformers_utils/model_arch_config_convertor.py``).
_LEGACY: Final = frozenset({"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4"})
#: What ``modelopt.py`` wants beside ``NVFP4`` there; null will do.
_LEGACY_KEYS: Final = ("group_size", "kv_cache_quant_algo", "exclude_modules")
#: Methods of vLLM 0.32.0 that may read NVFP4 in a way that is not known here.
_OTHER_NVFP4: Final = frozenset({"deepseek_v4_fp8", "quark", "humming", "online"})
_KV_CACHES: Final = frozenset({"FP8", "NVFP4"})


def _packed_but_unclaimed(evidence: Evidence) -> Iterator[Finding]:
    if evidence.claim is None and evidence.encodings & QUANTIZED:
        found = sorted(evidence.encodings & QUANTIZED)
        yield Finding(
            "quantized-not-claimed",
            Severity.ERROR,
            f"Weights are stored as {', '.join(found)}, and neither config.json nor "
            "hf_quant_config.json says so; the engine would read them as plain "
            "weights.",
            "Take `quantization_config` or hf_quant_config.json from the export.",
        )


def _unsupported_algorithm(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is None or claim.family != "modelopt":
        return
    if claim.algorithm is None:
        yield Finding(
            "missing-algorithm",
            Severity.ERROR,
            f"`{claim.file}` has a quantization without `quant_algo`.",
            "Quantize and export again; nothing says how the weights are stored.",
        )
    elif claim.algorithm not in _ALGORITHMS:
        yield Finding(
            "unsupported-algorithm",
            Severity.ERROR,
            f"`{claim.file}` says `quant_algo: {claim.algorithm}`, which vLLM does "
            "not take (vllm#45333).",
            "Quantize again with NVFP4 or W4A16_NVFP4.",
        )
    elif claim.file == QUANT_CONFIG and claim.algorithm not in _LEGACY:
        yield Finding(
            "legacy-config-algorithm",
            Severity.ERROR,
            f"Only hf_quant_config.json says `quant_algo: {claim.algorithm}`, and "
            "vLLM takes this algorithm from config.json only.",
            "Copy the quantization into config.json as `quantization_config`, with "
            "`quant_method: modelopt`.",
        )


def _missing_method(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is not None and claim.method is None and claim.family is None:
        yield Finding(
            "missing-method",
            Severity.ERROR,
            f"`{claim.file}` has a quantization without `quant_method`, and vLLM then "
            "reads every weight as plain.",
            "Take `quantization_config` from the export that wrote the tensors.",
        )


def _other_method(evidence: Evidence) -> Iterator[Finding]:
    """Check a method that has no NVFP4, beside weights that are."""
    claim, packed = evidence.claim, evidence.encodings & NVFP4
    if claim is None or claim.method is None or claim.family is not None:
        return
    if packed and claim.method not in _OTHER_NVFP4:
        yield Finding(
            "other-method",
            Severity.ERROR,
            f"`{claim.file}` says `quant_method: {claim.method}`, and weights are "
            f"stored as {', '.join(sorted(packed))}.",
            "Take `quantization_config` from the export that wrote the tensors.",
        )


def _incomplete_legacy(evidence: Evidence) -> Iterator[Finding]:
    """Check what vLLM wants of hf_quant_config.json where it stands alone."""
    claim, legacy = evidence.claim, evidence.checkpoint.hf_quant_config
    if claim is None or claim.file != QUANT_CONFIG or legacy is None:
        return
    producer = legacy_producer(evidence.checkpoint)
    if producer is None or producer.name != "modelopt":
        name = producer.name if producer is not None else None
        yield Finding(
            "legacy-config-producer",
            Severity.ERROR,
            f"Only {QUANT_CONFIG} speaks of a quantization, and its `producer.name` is "
            f"{name}; vLLM follows it only where that is `modelopt`, and would read "
            "every weight as plain.",
            "Copy the quantization into config.json as `quantization_config`, with "
            "`quant_method: modelopt`.",
        )
    section = legacy["quantization"]
    absent = [key for key in _LEGACY_KEYS if key not in section]  # type: ignore[operator]
    if claim.algorithm == "NVFP4" and absent:
        yield Finding(
            "legacy-config-keys",
            Severity.ERROR,
            f"`quantization` of {QUANT_CONFIG} has no {', '.join(absent)}, and vLLM "
            "does not start without.",
            "Add them, as the export that wrote the tensors would have; null will do "
            "for `kv_cache_quant_algo`.",
        )


def _mixed_without_layers(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is None or claim.family != "modelopt" or claim.layers:
        return
    if claim.algorithm == "MIXED_PRECISION":
        yield Finding(
            "mixed-without-layers",
            Severity.ERROR,
            f"`{claim.file}` says MIXED_PRECISION, and `quantized_layers` is neither "
            f"there nor in {QUANT_CONFIG}; vLLM does not start without.",
            "Take the config from the export that wrote the tensors.",
        )


def _remote_code(evidence: Evidence) -> Iterator[Finding]:
    if evidence.model.needs_remote_code:
        yield Finding(
            "remote-code",
            Severity.WARNING,
            "config.json has an `auto_map`: the checkpoint brings code of its own, and "
            "vLLM runs none of it unless it is told to.",
            "Nothing is to be done where vLLM knows the architecture; else pass "
            "`-- --trust-remote-code`, and only if you trust that code.",
        )


def _group_size(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is None or not _claims_nvfp4(claim) or not claim.group_sizes:
        return
    if claim.group_sizes != (NVFP4_BLOCK,):
        sizes = ", ".join(map(str, claim.group_sizes))
        yield Finding(
            "group-size",
            Severity.ERROR,
            f"`{claim.file}` says a group size of {sizes}; NVFP4 has {NVFP4_BLOCK}.",
            "Take the config from the export that wrote the tensors.",
        )


def _kv_cache(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is not None and claim.kv_cache not in (None, *_KV_CACHES):
        yield Finding(
            "kv-cache-algorithm",
            Severity.WARNING,
            f"`{claim.file}` asks for a KV cache of {claim.kv_cache}; FP8 and NVFP4 "
            "are known.",
            "Choose one with `--kv-cache-dtype`.",
        )


def _configs_disagree(evidence: Evidence) -> Iterator[Finding]:
    claim, legacy = evidence.claim, legacy_algorithm(evidence.checkpoint)
    if claim is None or claim.file != "config.json" or claim.algorithm is None:
        return
    if legacy is not None and legacy != claim.algorithm:
        yield Finding(
            "configs-disagree",
            Severity.WARNING,
            f"config.json says {claim.algorithm} and hf_quant_config.json says "
            f"{legacy}; the engine follows config.json.",
            "Take both from the same export.",
        )


def _only_the_name(evidence: Evidence) -> Iterator[Finding]:
    named = "nvfp4" in evidence.checkpoint.model.lower()
    if named and evidence.claim is None and not evidence.encodings & QUANTIZED:
        yield Finding(
            "nvfp4-in-name-only",
            Severity.WARNING,
            "It is called NVFP4, and neither a config nor a tensor is quantized.",
            "Check that this is the folder that you meant.",
        )


def _claims_nvfp4(claim: Claim) -> bool:
    return claim.nvfp4 or claim.experts == "NVFP4"


CONTRADICTIONS: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _packed_but_unclaimed,
    _unsupported_algorithm,
    _missing_method,
    _other_method,
    _incomplete_legacy,
    _mixed_without_layers,
    _remote_code,
    _group_size,
    _kv_cache,
    _configs_disagree,
    _only_the_name,
)
