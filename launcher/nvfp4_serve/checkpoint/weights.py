"""How each weight is cut when several GPUs share a model. Pure; no weight is read.

By the names that vLLM 0.32.0's models give ``ColumnParallelLinear`` and
``RowParallelLinear``. What has no such name is taken to be whole on every GPU: the sum
may then be too high, and is never too low.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from nvfp4_serve.checkpoint.encodings import parameters_of
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.model import Model
from nvfp4_serve.checkpoint.nvfp4 import BF16_BYTES
from nvfp4_serve.checkpoint.shapes import Cut, Part
from nvfp4_serve.checkpoint.types import StoredTensor

#: Cut along the output: each GPU has some of the rows.
_COLUMN: Final = re.compile(
    r"\.(q_proj|gate_proj|up_proj|gate_up_proj|w1|w3|q_b_proj|kv_b_proj|wq_b|fc1|"
    r"linear_fc1|qkv|qkv_proj|in_proj\w*|conv1d|wo_a|c_fc|up|gate_up)$"
)
#: Cut along the input: each GPU has some of the columns, and the whole bias.
_ROW: Final = re.compile(
    r"\.(o_proj|out_proj|down_proj|w2|wo_b|fc2|linear_fc2|attn\.proj|c_proj|down)$"
)
_KV: Final = re.compile(r"\.[kv]_proj$")
#: The indexer of sparse attention is whole on every GPU, whatever its layers are named.
_WHOLE: Final = re.compile(r"\.indexer\.")
#: The state parameters of Mamba and linear attention: one for each head.
_PER_HEAD: Final = frozenset({"A_log", "D", "dt_bias"})
_LAYER: Final = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_EXPERT: Final = re.compile(r"\.experts(\.|$)")


def weight_parts(evidence: Evidence) -> tuple[Part, ...]:
    """Return the weights by how they are cut, and by the decoder layer."""
    sizes: Counter[tuple[Cut, int | None, int, bool]] = Counter()
    for seen in evidence.seen:
        draft = seen.label == "mtp"
        layer = None if draft or seen.label == "vision" else _layer(seen.group.name)
        for cut, units, size in _cuts(seen, evidence.model):
            sizes[cut, layer, units, draft] += size
    return tuple(Part(*key, size) for key, size in sizes.items() if size)


def absorbed_bytes(evidence: Evidence) -> int:
    """Return the bytes of ``W_UK`` and ``W_UV`` of latent attention, over all layers.

    Source:
        vLLM 0.32.0, layers/attention/mla_attention.py, process_weights_after_loading:
        it makes them of ``kv_b_proj``, which stays for the prefill.
    """
    return sum(
        parameters_of(seen.group, seen.encoding) * BF16_BYTES
        for seen in evidence.seen
        if seen.group.name.endswith(".kv_b_proj") and seen.label != "mtp"
    )


def _layer(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def _cuts(seen: Seen, model: Model) -> Iterator[tuple[Cut, int, int]]:
    """Yield cut, units and bytes of each tensor of all modules of the group."""
    name, count = seen.group.name, seen.group.count
    if _EXPERT.search(name):
        experts = model.widths.experts or 1
        for tensor in seen.group.tensors:
            is_scalar = tensor.elements <= (1 if count > 1 else experts)
            cut = Cut.EXPERT_SCALARS if is_scalar else Cut.EXPERTS
            yield cut, experts, count * tensor.bytes
        return
    if seen.label in ("embeddings", "lm_head"):
        yield from _vocabulary(seen, model)
        return
    for tensor in seen.group.tensors:
        cut = _linear_cut(name, tensor)
        units = model.kv_heads or 1 if cut is Cut.KV_HEADS else 1
        yield cut, units, count * tensor.bytes


def _vocabulary(seen: Seen, model: Model) -> Iterator[tuple[Cut, int, int]]:
    """The head of a model whose head is its embeddings is not loaded."""
    if seen.label == "lm_head" and model.is_tied:
        return
    for tensor in seen.group.tensors:
        is_table = len(tensor.shape) == 2
        rows = tensor.shape[0] if is_table else 1
        cut = Cut.VOCABULARY if is_table else Cut.REPLICATED
        yield cut, rows, seen.group.count * tensor.bytes


def _linear_cut(name: str, tensor: StoredTensor) -> Cut:
    if tensor.elements == 1 or _WHOLE.search(name):
        return Cut.REPLICATED
    if name.endswith(".mixer.norm"):  # Mamba 2's gated norm is as wide as its heads
        return Cut.SHARDED
    if _KV.search(name):
        return Cut.KV_HEADS
    if _COLUMN.search(name) or tensor.suffix in _PER_HEAD:
        return Cut.SHARDED
    if _ROW.search(name) and len(tensor.shape) > 1:
        return Cut.SHARDED
    return Cut.REPLICATED
