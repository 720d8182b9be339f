"""What an engine takes beside weights and cache. Pure arithmetic; allowances.

No figure here was measured on a GPU. ``docs/memory.md`` says what each stands on.
"""

from fractions import Fraction
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.plan.kv import VALUE_BYTES
from nvfp4_serve.plan.weights import Split, Weights
from nvfp4_serve.units import GIB, MIB

#: The driver's context, cuBLAS and the kernels' own tables; an allowance.
_CONTEXT: Final = 768 * MIB
#: NCCL's buffers and those of vLLM's own all-reduce; an allowance.
_COLLECTIVES: Final = 768 * MIB
#: CUDA graphs of vLLM's default sizes; an allowance.
_GRAPHS: Final = GIB
#: What no formula here sees: sampling, the tokenizer's and the kernels' workspaces.
_LEAST_ACTIVATIONS: Final = GIB
#: Copies of the hidden states that a layer holds at once: the residual, its input,
#: its output, and one normalised or quantized.
_HIDDEN_COPIES: Final = 4
_BF16: Final = 2
#: A logit is held in bfloat16, and in float32 twice: vLLM 0.32.0, v1/sample.
_LOGIT_BYTES: Final = 10
#: Rows and columns that FlashInfer's TRTLLM kernels and Marlin want of the experts of
#: one GPU. vLLM 0.32.0, utils/flashinfer_fp4_moe.py, marlin_utils_fp4.py.
_EXPERT_STEP: Final = 64
_TRTLLM_HIDDEN_STEP: Final = 256
#: Marlin repacks a layer's experts into new memory (8/9 of their bytes are values) and
#: holds the scales of ``w13`` four times over (2/3 of 1/9): in bfloat16, one by one,
#: and put together. vLLM 0.32.0, prepare_nvfp4_moe_layer_for_marlin.
_MARLIN_REPACK: Final = Fraction(8, 9) + 4 * Fraction(2, 3) * Fraction(1, 9)
#: Others rearrange in new memory as well; counted as a copy of one layer's experts.
_REPACK: Final = Fraction(1)


def cache_value_bytes(layout: Layout, dtype: str | None) -> Fraction:
    """Return the bytes that one value of the KV cache takes.

    Args:
        layout: The checkpoint; it may ask for an FP8 or NVFP4 cache itself.
        dtype: ``--kv-cache-dtype`` as it was asked for; None or ``auto`` leaves it to
            the checkpoint.
    """
    word = dtype if dtype not in (None, "auto") else layout.schemes.get("kv_cache", "")
    word = (word or "").lower()
    for name, size in VALUE_BYTES.items():
        if word.startswith(name):
            return size
    return VALUE_BYTES["bfloat16"]


def activation_bytes(layout: Layout, split: Split, batched: int, seqs: int) -> int:
    """Return what the largest step takes: an estimate from the model's widths.

    ``batched`` tokens go through the widest layer, and ``seqs`` of them get logits.

    Args:
        layout: The checkpoint.
        split: How GPUs share it; experts of many tokens are whole with expert
            parallelism, and there are fewer of them.
        batched: ``--max-num-batched-tokens``.
        seqs: ``--max-num-seqs``.
    """
    widths = layout.widths
    hidden = (widths.hidden or 0) * _HIDDEN_COPIES
    plain = 3 * (widths.intermediate or 0) // split.tensor
    chosen = widths.experts_per_token or 0
    expert = 3 * (widths.expert_intermediate or 0) // split.tensor
    routed = chosen * (expert + (widths.hidden or 0))
    step = batched * (hidden + max(plain, routed)) * _BF16
    logits = seqs * (widths.vocabulary or 0) * _LOGIT_BYTES
    return max(_LEAST_ACTIVATIONS, step + logits)


def context_bytes(split: Split) -> int:
    """Return what the driver and the collectives take on each GPU; an allowance."""
    return _CONTEXT + (_COLLECTIVES if split.gpus > 1 else 0)


def graph_bytes(*, eager: bool) -> int:
    """Return what CUDA graphs take; an allowance."""
    return 0 if eager else _GRAPHS


def padding_bytes(
    layout: Layout, split: Split, weights: Weights, *, hidden_step: bool
) -> int:
    """Return what the engine adds to the experts of all layers on one GPU.

    Args:
        layout: The checkpoint.
        split: How GPUs share it.
        weights: Of one GPU.
        hidden_step: The backend wants the hidden size in steps too (TRTLLM).
    """
    widths, share = layout.widths, split.tensor
    if not widths.expert_intermediate or not widths.hidden or not weights.experts:
        return 0
    inner = widths.expert_intermediate // (1 if split.experts else share)
    grown = Fraction(-(-inner // _EXPERT_STEP) * _EXPERT_STEP, max(1, inner))
    if hidden_step:
        hidden = -(-widths.hidden // _TRTLLM_HIDDEN_STEP) * _TRTLLM_HIDDEN_STEP
        grown *= Fraction(hidden, widths.hidden)
    return int((grown - 1) * weights.all_experts)


def repack_bytes(weights: Weights, *, marlin: bool) -> int:
    """Return what loading takes for a moment beyond the weights."""
    return int(weights.experts * (_MARLIN_REPACK if marlin else _REPACK))
