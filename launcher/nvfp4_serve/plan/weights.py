"""What one GPU holds of a model's weights. Pure arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.shapes import Cut, Part

#: Rows of the vocabulary come in multiples of it. vLLM 0.32.0,
#: layers/vocab_parallel_embedding.py, DEFAULT_VOCAB_PADDING_SIZE.
_VOCABULARY_STEP: Final = 64


@dataclass(frozen=True, slots=True)
class Split:
    """How GPUs share a model.

    Attributes:
        tensor: How many share each layer.
        pipeline: How many stages of layers there are.
        data: How many copies of all of it (of experts too, unless ``experts``).
        experts: Experts stay whole, and are shared by tensor x data GPUs.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    experts: bool = False

    @property
    def gpus(self) -> int:
        """GPUs that it takes."""
        return self.tensor * self.pipeline * self.data

    @property
    def sharing_experts(self) -> int:
        """GPUs that share the experts of one layer."""
        return self.tensor * self.data if self.experts else self.tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of the weights on one GPU.

    Attributes:
        replicated: What the other GPUs of the stage hold as well.
        sharded: Its share of the rest.
        padded: What vLLM adds, so that every GPU's part is alike.
        experts: Of all this, the routed experts of the layer with the most.
        all_experts: The same over all layers.
    """

    replicated: int
    sharded: int
    padded: int
    experts: int
    all_experts: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.replicated + self.sharded + self.padded


def stage_layers(layers: int, stages: int) -> tuple[range, ...]:
    """Return the layers of each pipeline stage.

    What does not divide goes to the stages before the last.

    Source:
        vLLM 0.32.0, distributed/utils.py, ``get_pp_indices``.
    """
    counts = [layers // stages] * stages
    for stage in range(layers % stages):
        counts[-2 - stage] += 1
    firsts = [sum(counts[:stage]) for stage in range(stages)]
    return tuple(
        range(first, first + count) for first, count in zip(firsts, counts, strict=True)
    )


def stage_weights(
    parts: Iterable[Part], split: Split, layers: range | None, *, draft: bool
) -> Weights:
    """Return what each GPU of one stage holds.

    What belongs to no layer (embeddings, head, norms, vision) is counted on every
    stage: some models of vLLM 0.32.0 build it there (Qwen3-MoE does), others do not.

    Args:
        parts: Of the layout.
        split: How GPUs share the model.
        layers: Those of the stage; None for all.
        draft: Whether the layers of multi-token prediction are loaded.
    """
    replicated = sharded = padded = 0
    experts: dict[int | None, int] = {}
    for part in parts:
        if part.draft and not draft:
            continue
        if layers is not None and part.layer is not None and part.layer not in layers:
            continue
        whole, share, more = _share(part, split)
        replicated += whole
        sharded += share
        padded += more
        if part.cut is Cut.EXPERTS:
            experts[part.layer] = experts.get(part.layer, 0) + share + more
    most = max(experts.values(), default=0)
    return Weights(replicated, sharded, padded, most, sum(experts.values()))


def _share(part: Part, split: Split) -> tuple[int, int, int]:
    """Return the bytes that are whole here, cut, and added."""
    if part.cut is Cut.REPLICATED:
        return part.bytes, 0, 0
    if part.cut is Cut.KV_HEADS and split.tensor > part.units:
        return -(-part.bytes // part.units), 0, 0
    if part.cut is Cut.VOCABULARY:
        row = part.bytes // part.units
        rows = -(-part.units // _VOCABULARY_STEP) * _VOCABULARY_STEP
        share = -(-part.bytes // split.tensor)
        return 0, share, max(0, -(-rows // split.tensor) * row - share)
    if part.cut is Cut.EXPERTS and split.experts:
        share = part.bytes // split.sharing_experts
        held = -(-part.units // split.sharing_experts)
        return 0, share, held * part.bytes // part.units - share
    if part.cut is Cut.EXPERT_SCALARS:
        held = -(-part.units // split.sharing_experts) if split.experts else part.units
        return held * part.bytes // part.units, 0, 0
    return 0, -(-part.bytes // split.tensor), 0
