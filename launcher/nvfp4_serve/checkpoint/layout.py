"""Checkpoint -> Layout: recognise how the weights are stored. Pure.

The tensors are the truth; the config is a claim that ``findings`` holds against them.
"""

from dataclasses import asdict
from typing import Final

from nvfp4_serve.checkpoint.encodings import (
    NVFP4,
    Encoding,
    dequantized_bytes_of,
    parameters_of,
    weight_of,
)
from nvfp4_serve.checkpoint.evidence import Evidence, Seen, gather
from nvfp4_serve.checkpoint.judgement import judge
from nvfp4_serve.checkpoint.layout_ids import UNKNOWN, layout_id
from nvfp4_serve.checkpoint.modules import CLASSES
from nvfp4_serve.checkpoint.moe import attention_kind, read_draft, read_experts
from nvfp4_serve.checkpoint.scales import input_widths
from nvfp4_serve.checkpoint.types import Checkpoint, Layout

_WORDS: Final = {
    Encoding.MXFP4: "MXFP4",
    Encoding.FP8: "FP8",
    Encoding.FP8_BLOCK: "FP8_BLOCK",
}


def read_layout(checkpoint: Checkpoint) -> Layout:
    """Return how ``checkpoint`` stores its weights, and what is to be said of it.

    Raises:
        CheckpointError: A config has a value of the wrong kind.
    """
    judged = judge(gather(checkpoint))
    evidence = judged.evidence
    return Layout(
        model=checkpoint.model,
        folder=checkpoint.folder,
        revision=checkpoint.revision,
        architecture=evidence.model.architecture,
        producer=evidence.claim.producer if evidence.claim else None,
        layout=layout_id(evidence),
        schemes=_schemes(evidence),
        weight_bytes=sum(
            group.count * tensor.bytes
            for group in checkpoint.groups
            for tensor in group.tensors
        ),
        parameters=sum(parameters_of(s.group, s.encoding) for s in evidence.seen),
        dequantized_bytes=sum(
            dequantized_bytes_of(s.group, s.encoding) for s in evidence.seen
        ),
        max_position_embeddings=evidence.model.max_position_embeddings,
        attention=evidence.model.attention,
        needs_remote_code=evidence.model.needs_remote_code,
        findings=judged.findings,
        attention_heads=evidence.model.attention_heads,
        rewrites=evidence.loaded.kinds,
        overlay=judged.overlay,
        input_widths=input_widths(evidence),
        experts=read_experts(evidence),
        draft=read_draft(evidence, scheme_of),
        attention_kind=attention_kind(checkpoint.config),
    )


def layout_json(layout: Layout) -> dict[str, object]:
    """Return ``layout`` as ``inspect --json`` prints it; the keys are a contract."""
    producer, overlay = layout.producer, layout.overlay
    return {
        "model": layout.model,
        "architecture": layout.architecture,
        "producer": producer and {"name": producer.name, "version": producer.version},
        "layout": layout.layout,
        "rewrites": list(layout.rewrites),
        "overlay": overlay
        and {
            "quantization_config": overlay.quantization_config,
            "changes": list(overlay.changes),
        },
        "schemes": dict(layout.schemes),
        "weight_bytes": layout.weight_bytes,
        "parameters": layout.parameters,
        "findings": [
            {
                "id": finding.id,
                "severity": finding.severity.value,
                "message": finding.message,
                "fix": finding.fix,
            }
            for finding in layout.findings
        ],
        "servable": layout.servable,
        "experts": layout.experts and asdict(layout.experts),
        "draft": layout.draft and asdict(layout.draft),
    }


def _schemes(evidence: Evidence) -> dict[str, str]:
    """Return the schemes of each class of modules, in the order of ``CLASSES``.

    Norms, biases and other vectors say nothing of a scheme; a class that has nothing
    else is left out.
    """
    words: dict[str, set[str]] = {}
    for seen in evidence.seen:
        word = scheme_of(seen)
        if word is not None:
            words.setdefault(seen.label, set()).add(word)
    if evidence.claim is not None and evidence.claim.kv_cache is not None:
        words["kv_cache"] = {evidence.claim.kv_cache}
    return {
        label: "+".join(sorted(words[label])) for label in CLASSES if label in words
    }


def scheme_of(seen: Seen) -> str | None:
    """Return the scheme of one group; None where it has nothing but vectors."""
    if seen.encoding in NVFP4:
        inputs = seen.has_input_scale
        if seen.expected is not None and seen.expected.quantizes_inputs is not None:
            inputs = seen.expected.quantizes_inputs
        return "NVFP4" if inputs else "W4A16_NVFP4"
    if seen.encoding is Encoding.PLAIN:
        return _plain_scheme(seen)
    return _WORDS.get(seen.encoding, UNKNOWN)


def _plain_scheme(seen: Seen) -> str | None:
    """Return the dtype of the matrices; None where there are only vectors."""
    weight = weight_of(seen.group)
    tensors = (weight,) if weight is not None else seen.group.tensors
    dtypes = {tensor.dtype for tensor in tensors if len(tensor.shape) > 1}
    return "+".join(sorted(dtypes)) or None
