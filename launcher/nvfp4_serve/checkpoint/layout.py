"""Checkpoint -> Layout: recognise how the weights are stored. Pure.

The tensors are the truth; the config is a claim that ``findings`` holds against them.
"""

from collections.abc import Callable
from typing import Final

from nvfp4_serve.checkpoint.encodings import (
    FOREIGN,
    NVFP4,
    Encoding,
    dequantized_bytes_of,
    parameters_of,
    weight_of,
)
from nvfp4_serve.checkpoint.evidence import Evidence, Seen, gather
from nvfp4_serve.checkpoint.findings import find
from nvfp4_serve.checkpoint.modules import CLASSES
from nvfp4_serve.checkpoint.types import Checkpoint, Layout

UNKNOWN: Final = "unknown"

_Encodings = frozenset[Encoding]

#: The first line that holds gives the layout id. To teach us another one, add a line.
_LAYOUTS: Final[tuple[tuple[str, Callable[[_Encodings], bool]], ...]] = (
    (UNKNOWN, lambda has: bool(has & FOREIGN)),
    (
        UNKNOWN,
        lambda has: {Encoding.MODELOPT_NVFP4, Encoding.COMPRESSED_NVFP4} <= has,
    ),
    ("modelopt-per-expert", lambda has: Encoding.MODELOPT_NVFP4 in has),
    ("compressed-tensors", lambda has: Encoding.COMPRESSED_NVFP4 in has),
    (UNKNOWN, lambda has: Encoding.NO_BLOCK_SCALE in has),
    ("mxfp4", lambda has: Encoding.MXFP4 in has),
    ("fp8", lambda has: bool(has & {Encoding.FP8, Encoding.FP8_BLOCK})),
    ("unquantized", lambda _: True),
)

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
    evidence = gather(checkpoint)
    layout = next(name for name, holds in _LAYOUTS if holds(evidence.encodings))
    return Layout(
        model=checkpoint.model,
        folder=checkpoint.folder,
        revision=checkpoint.revision,
        architecture=evidence.model.architecture,
        producer=evidence.claim.producer if evidence.claim else None,
        layout=layout,
        schemes=_schemes(evidence),
        weight_bytes=sum(
            seen.group.count * tensor.bytes
            for seen in evidence.seen
            for tensor in seen.group.tensors
        ),
        parameters=sum(parameters_of(s.group, s.encoding) for s in evidence.seen),
        dequantized_bytes=sum(
            dequantized_bytes_of(s.group, s.encoding) for s in evidence.seen
        ),
        max_position_embeddings=evidence.model.max_position_embeddings,
        attention=evidence.model.attention,
        needs_remote_code=evidence.model.needs_remote_code,
        findings=find(evidence),
        attention_heads=evidence.model.attention_heads,
    )


def layout_json(layout: Layout) -> dict[str, object]:
    """Return ``layout`` as ``inspect --json`` prints it; the keys are a contract."""
    producer = layout.producer
    return {
        "model": layout.model,
        "architecture": layout.architecture,
        "producer": producer and {"name": producer.name, "version": producer.version},
        "layout": layout.layout,
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
    }


def _schemes(evidence: Evidence) -> dict[str, str]:
    """Return the schemes of each class of modules, in the order of ``CLASSES``.

    Norms, biases and other vectors say nothing of a scheme; a class that has nothing
    else is left out.
    """
    words: dict[str, set[str]] = {}
    for seen in evidence.seen:
        word = _scheme(seen)
        if word is not None:
            words.setdefault(seen.label, set()).add(word)
    if evidence.claim is not None and evidence.claim.kv_cache is not None:
        words["kv_cache"] = {evidence.claim.kv_cache}
    return {
        label: "+".join(sorted(words[label])) for label in CLASSES if label in words
    }


def _scheme(seen: Seen) -> str | None:
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
