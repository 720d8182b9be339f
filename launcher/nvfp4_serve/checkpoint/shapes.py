"""What decides how much memory a model takes: of its KV cache, and of its weights.

Values only.
"""

import enum
from dataclasses import dataclass


class KvKind(enum.StrEnum):
    """What a layer keeps of a sequence, in vLLM's own distinction."""

    FULL = "full"  # keys and values of every token
    SLIDING = "sliding"  # of the last tokens of a window
    CHUNKED = "chunked"  # of the tokens of one chunk
    LATENT = "latent"  # one vector a token, for all heads (MLA)
    STATE = "state"  # one state a sequence, however long (Mamba, linear attention)


@dataclass(frozen=True, slots=True)
class KvState:
    """What a Mamba or linear-attention layer keeps of one sequence.

    Tensor parallelism cuts all of it, once ``groups`` are at least as many as GPUs.

    Attributes:
        conv_rows: Rows of the convolution's window: the width of its kernel, less one.
        conv_values: Values of one row, those of ``groups`` not among them.
        groups: Groups that share their B and C (Mamba 2); 0 where there are none.
        group_values: Values of one group in one row.
        values: Values of the recurrent state.
        value_bytes: Bytes of one of those; a value of the convolution has two.
        checkpoints: States that vLLM keeps besides, where it keeps prefixes.
    """

    conv_rows: int
    conv_values: int
    groups: int
    group_values: int
    values: int
    value_bytes: int
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class KvLayers:
    """Layers that keep the same of a sequence.

    Attributes:
        layers: Their numbers.
        heads: KV heads; 1 for latent attention.
        width: Values that one head keeps of a token, key and value together.
        window: Tokens of the window or the chunk.
        state: Where the kind is ``STATE``.
        value_bytes: Where a value takes the same in every KV-cache dtype.
        block: Tokens of one block, where the model's own code says it.
        page: Bytes of that block, where it says that too.
    """

    kind: KvKind
    layers: tuple[int, ...]
    heads: int = 1
    width: int = 0
    window: int | None = None
    state: KvState | None = None
    value_bytes: int | None = None
    block: int | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class KvShape:
    """What the KV cache of a model depends on.

    Attributes:
        groups: The decoder's layers; those that use another layer's cache, and those
            that keep nothing, are in none.
        draft: Layers of multi-token prediction, which keep theirs where they are used.
        is_packed: Pages of several sizes lie side by side in one block; every group
            has a block and a page then (DeepSeek-V4).
    """

    groups: tuple[KvLayers, ...]
    draft: tuple[KvLayers, ...] = ()
    is_packed: bool = False


class Cut(enum.StrEnum):
    """What becomes of weights when several GPUs share a layer."""

    REPLICATED = "replicated"  # every GPU holds all
    SHARDED = "sharded"  # each holds its part
    KV_HEADS = "kv-heads"  # as sharded; but no part is less than one KV head
    VOCABULARY = "vocabulary"  # rows, once there are a multiple of 64
    EXPERTS = "experts"  # as sharded; whole experts with expert parallelism
    EXPERT_SCALARS = "expert-scalars"  # one for each expert, which nobody cuts


@dataclass(frozen=True, slots=True)
class Part:
    """Weights of one decoder layer, or of none, that are cut alike.

    Attributes:
        layer: The decoder layer; None for what comes before, after and beside them.
        units: KV heads, rows of the vocabulary, or experts; 1 where it does not matter.
        draft: It belongs to multi-token prediction: loaded where that is asked for.
        bytes: As stored.
    """

    cut: Cut
    layer: int | None
    units: int
    draft: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Widths:
    """The sizes that the engine's working memory depends on, as config.json has them.

    Attributes:
        intermediate: Of the plain MLP, the widest.
        expert_intermediate: Of one routed expert.
        experts: Routed experts of a layer.
        experts_per_token: Those that one token goes through.
        absorbed: Bytes of the matrices that vLLM makes of ``kv_b_proj`` beside it
            (MLA), in bfloat16 and over all layers.
        linear_heads: Heads that a linear-attention or Mamba layer has; each GPU must
            get the same number.
    """

    layers: int | None = None
    hidden: int | None = None
    intermediate: int | None = None
    vocabulary: int | None = None
    expert_intermediate: int | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    absorbed: int = 0
    linear_heads: tuple[int, ...] = ()
