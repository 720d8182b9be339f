"""Where the config says one thing and the tensors another. Pure.

Part of ``findings``; kept apart because it is about the config, not about a format.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from nvfp4_serve.checkpoint.config import Claim, legacy_algorithm
from nvfp4_serve.checkpoint.encodings import FOREIGN, NVFP4, Encoding, weight_of
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.nvfp4 import NVFP4_BLOCK
from nvfp4_serve.checkpoint.patterns import matcher, too_slow
from nvfp4_serve.checkpoint.types import Finding, Severity

#: What vLLM 0.32.0 takes from config.json (``quantization/modelopt.py``).
_ALGORITHMS: Final = frozenset(
    {
        "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4",
        "MXFP8", "MIXED_PRECISION",
    }
)  # fmt: skip
#: What it takes where hf_quant_config.json stands alone
#: (``transformers_utils/model_arch_config_convertor.py``).
_LEGACY: Final = re.compile(r"NVFP4|MIXED_PRECISION|FP8\w*")
_KV_CACHES: Final = frozenset({"FP8", "NVFP4"})
_QUANTIZED: Final = NVFP4 | {Encoding.MXFP4, Encoding.FP8, Encoding.FP8_BLOCK}
#: Classes whose matrices vLLM builds quantized unless the config excludes them.
_ALWAYS_QUANTIZED: Final = frozenset({"routed_experts", "shared_experts", "mlp"})
_OFTEN_QUANTIZED: Final = frozenset({"attention", "mtp"})


def _claimed_but_plain(evidence: Evidence) -> Iterator[Finding]:
    """NVFP4 is claimed and nothing is packed: Model-Optimizer#1323."""
    claim = evidence.claim
    if claim is None or not _claims_nvfp4(claim) or evidence.encodings & FOREIGN:
        return
    if not evidence.has_nvfp4 and Encoding.NO_BLOCK_SCALE not in evidence.encodings:
        yield Finding(
            "claimed-nvfp4-not-packed",
            Severity.ERROR,
            f"`{claim.file}` claims {claim.algorithm}, and no module is packed: the "
            "quantizer skipped every weight and said nothing (Model-Optimizer#1323).",
            "Quantize again with nvidia-modelopt 0.47 or newer and inspect the output; "
            "to serve it as it is, take the quantization out of the config.",
        )


def _packed_but_unclaimed(evidence: Evidence) -> Iterator[Finding]:
    if evidence.claim is None and evidence.encodings & _QUANTIZED:
        found = sorted(evidence.encodings & _QUANTIZED)
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
    if claim is None or claim.method not in (None, "modelopt", "modelopt_fp4"):
        return
    legacy = claim.file != "config.json"
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
    elif legacy and not _LEGACY.fullmatch(claim.algorithm):
        yield Finding(
            "legacy-config-algorithm",
            Severity.ERROR,
            f"Only hf_quant_config.json says `quant_algo: {claim.algorithm}`, and "
            "vLLM takes this algorithm from config.json only.",
            "Copy the quantization into config.json as `quantization_config`, with "
            "`quant_method: modelopt`.",
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


def _excluded_but_quantized(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is None or not claim.ignore:
        return
    is_ignored = _is_ignored(evidence)
    if is_ignored is None:
        return
    # A native format may stay quantized where ModelOpt's is excluded: DeepSeek-V4
    # ignores its FP8 attention and its MXFP4 prediction layers.
    seen = [s for s in evidence.stored_as(*NVFP4) if is_ignored(s.group.example)]
    if seen:
        yield Finding(
            "excluded-but-quantized",
            Severity.ERROR,
            f"`{claim.file}` excludes `{seen[0].group.example}` from the quantization, "
            f"and it is packed ({len(seen):,} such groups); the engine would look for "
            "a plain weight.",
            "Take the config from the export that wrote the tensors.",
        )


def _plain_but_not_excluded(evidence: Evidence) -> Iterator[Finding]:
    claim = evidence.claim
    if claim is None or not claim.nvfp4 or claim.targets or not evidence.has_nvfp4:
        return
    is_ignored = _is_ignored(evidence)
    if is_ignored is None:
        return
    for severity, labels in (
        (Severity.ERROR, _ALWAYS_QUANTIZED),
        (Severity.WARNING, _OFTEN_QUANTIZED),
    ):
        seen = [
            s
            for s in evidence.stored_as(Encoding.PLAIN)
            if s.label in labels and _is_linear(s) and not is_ignored(s.group.example)
        ]
        if seen:
            yield Finding(
                "plain-but-not-excluded",
                severity,
                f"`{seen[0].group.example}` is a plain weight, and `{claim.file}` does "
                f"not exclude it ({len(seen):,} such groups); the engine expects it "
                "packed.",
                "Add its name to `ignore` of `quantization_config`.",
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
    if named and evidence.claim is None and not evidence.encodings & _QUANTIZED:
        yield Finding(
            "nvfp4-in-name-only",
            Severity.WARNING,
            "It is called NVFP4, and neither a config nor a tensor is quantized.",
            "Check that this is the folder that you meant.",
        )


def _claims_nvfp4(claim: Claim) -> bool:
    return claim.nvfp4 or claim.experts == "NVFP4"


def _is_linear(seen: Seen) -> bool:
    """Return whether it is a matrix that vLLM builds as a linear layer.

    Not so: a convolution (its weight has three sides), and a table with few rows
    such as the gate of a shared expert.
    """
    weight = weight_of(seen.group)
    return (
        weight is not None
        and len(weight.shape) == 2
        and (seen.group.name.endswith(("_proj", ".w1", ".w2", ".w3")))
    )


def _is_ignored(evidence: Evidence) -> Callable[[str], bool] | None:
    """Return whether a module is excluded; None where it takes too long to know."""
    ignore = evidence.claim.ignore if evidence.claim is not None else ()
    return None if _too_slow(evidence) else matcher(ignore)


def _too_slow(evidence: Evidence) -> tuple[str, ...]:
    ignore = evidence.claim.ignore if evidence.claim is not None else ()
    return too_slow(ignore, (seen.group.example for seen in evidence.seen))


def _slow_patterns(evidence: Evidence) -> Iterator[Finding]:
    """A regular expression may take longer than anyone waits; the engine's too."""
    claim, slow = evidence.claim, _too_slow(evidence)
    if claim is not None and slow:
        yield Finding(
            "slow-pattern",
            Severity.WARNING,
            f"`{claim.file}` excludes modules by `{slow[0][:80]}`, and to match that "
            "may take hours; what it excludes was not checked.",
            "Write it without a repeated group and with few repeats; the engine "
            "matches it with every module too.",
        )


CONTRADICTIONS: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _slow_patterns,
    _claimed_but_plain,
    _packed_but_unclaimed,
    _unsupported_algorithm,
    _group_size,
    _excluded_but_quantized,
    _plain_but_not_excluded,
    _kv_cache,
    _configs_disagree,
    _only_the_name,
)
