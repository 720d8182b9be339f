"""Which part of a model a module belongs to, by its name. Pure.

The names are those of the architectures that vLLM 0.32.0 loads; a part that is not
known is ``other``, never an error.
"""

import re
from typing import Final

#: Classes in the order in which they are shown.
CLASSES: Final = (
    "attention", "routed_experts", "shared_experts", "mlp", "router", "mtp",
    "lm_head", "embeddings", "vision", "kv_cache", "other",
)  # fmt: skip

_VISION: Final = re.compile(
    r"(^|\.)(visual|vision\w*|\w*vision_tower|image_\w+|multi_modal_projector|"
    r"mm_projector|audio\w*|embed_vision|embed_audio)(\.|$)"
)
_MTP: Final = re.compile(r"(^|\.)(mtp|mtp_\w+|nextn\w*)(\.|$)")
_LAYER: Final = re.compile(r"(^|\.)layers\.(\d+)(\.|$)")
_NORM: Final = re.compile(r"norm\w*$")
_BY_PART: Final = (
    ("shared_experts", re.compile(r"\.(shared_experts?|shared_mlp)(\.|$)")),
    ("routed_experts", re.compile(r"\.experts(\.|$)")),
    ("router", re.compile(r"\.(gate|router|shared_expert_gate)(\.\w+)?$")),
    ("attention", re.compile(r"\.(\w*attn|\w*attention)(\.|$)")),
    ("mlp", re.compile(r"\.(mlp|ffn|feed_forward|block_sparse_moe|moe)(\.|$)")),
    ("lm_head", re.compile(r"(^|\.)(lm_head|head|output_head)$")),
    (
        "embeddings",
        re.compile(r"(^|\.)(embed_tokens\w*|embed|embeddings?|wte|word_embeddings)$"),
    ),
)
#: Mamba and attention share the name ``mixer`` in Nemotron-H; these are attention's.
_MIXER_ATTENTION: Final = re.compile(r"\.mixer\.([qkvo]_proj)$")


def module_class(name: str, *, layers: int | None) -> str:
    """Return the class of the module ``name``: one of ``CLASSES``.

    Args:
        name: As stored, the expert's number perhaps as ``*``.
        layers: Decoder layers; a layer behind the last is one of MTP, as in
            DeepSeek-V3 (``model.layers.61`` of 61).
    """
    if _VISION.search(name):
        return "vision"
    if _MTP.search(name) or _is_behind_last(name, layers):
        return "mtp"
    if _NORM.search(name):
        return "other"
    if _MIXER_ATTENTION.search(name):
        return "attention"
    for label, pattern in _BY_PART:
        if pattern.search(name):
            return label
    return "other"


def _is_behind_last(name: str, layers: int | None) -> bool:
    found = _LAYER.search(name)
    return layers is not None and found is not None and int(found[2]) >= layers
