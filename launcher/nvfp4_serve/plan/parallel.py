"""In which ways GPUs can share a model, and whether its experts stay whole. Pure."""

from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError, UsageError
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.weights import Split
from nvfp4_serve.plan.widths import too_narrow
from nvfp4_serve.plan.wishes import Wishes

#: Numbers of GPUs that share a layer, where nobody asked for another.
TENSOR_SIZES: Final = (1, 2, 4, 8, 16)
#: What kernels want of one GPU's part of an expert: a multiple of it, or padding.
_EXPERT_STEP: Final = 64
#: From here on the published commands keep experts whole.
_MANY_EXPERTS: Final = 256
_MANY_GPUS: Final = 8
_SWITCH: Final = "--enable-expert-parallel"


def splits(layout: Layout, available: int, wishes: Wishes) -> tuple[Split, ...]:
    """Return the ways in which up to ``available`` GPUs can share ``layout``.

    Pipeline and data parallelism are used where they are asked for, and else not: the
    first leaves GPUs idle, the second is another copy of everything.
    """
    stages, copies = wishes.pipeline_parallel or 1, wishes.data_parallel or 1
    sizes = (wishes.tensor_parallel,) if wishes.tensor_parallel else TENSOR_SIZES
    found = []
    for size in sizes:
        whole = keeps_experts_whole(layout, size * copies, wishes)
        split = Split(size, stages, copies, experts=whole)
        if split.gpus <= available and not cannot_share(layout, split):
            found.append(split)
    return tuple(found)


def keeps_experts_whole(layout: Layout, count: int, wishes: Wishes) -> bool:
    """Return whether ``count`` GPUs should hold whole experts."""
    if wishes.expert_parallel is not None:
        return wishes.expert_parallel
    return why_whole(layout, count) is not None


def why_whole(layout: Layout, count: int) -> Choice | None:
    """Return the flag for whole experts and its reason; None: cut them."""
    experts, width = layout.widths.experts or 0, layout.widths.expert_intermediate
    if count == 1 or experts < count:
        return None
    if any(".experts." in name for name in too_narrow(layout, count, experts=False)):
        why = f"Cut over {count} GPUs, a block scale of the experts would be cut."
        source = "vLLM 0.32.0, quantization/modelopt.py, KNvfp4Static.create_weights"
    elif width and width % (count * _EXPERT_STEP):
        why = (
            f"Cut over {count} GPUs, experts of {width} would be padded to a multiple "
            f"of {_EXPERT_STEP} each."
        )
        source = (
            "vLLM 0.32.0, utils/flashinfer_fp4_moe.py and marlin_utils_fp4.py, "
            "min_alignment and padded_N"
        )
    elif experts >= _MANY_EXPERTS and count >= _MANY_GPUS:
        why = f"{experts} small experts: each GPU computes {experts // count} of them "
        why += "whole, not a sliver of every one."
        source = "canada-quant/dsv4-pro-nvfp4-fp8-mtp, README: TP 8 and EP on 8 B300"
    else:
        return None
    return Choice(_SWITCH, None, why, source)


def cannot_share(layout: Layout, split: Split) -> tuple[str, ...]:
    """Return why ``split`` cannot be, one line each.

    Source:
        vLLM 0.32.0, config/model.py, verify_with_parallel_config (heads);
        models/qwen3_moe.py, Qwen3MoeAttention (KV heads);
        layers/mamba/mamba_utils.py, divide (linear attention).
    """
    tensor = split.tensor
    faults = []
    heads = layout.attention_heads
    if heads is not None and heads % tensor:
        faults.append(f"{heads} attention heads over {tensor} GPUs")
    faults += [
        f"{count} heads of linear attention over {tensor} GPUs"
        for count in layout.widths.linear_heads
        if count % tensor
    ]
    faults += [
        f"{count} KV heads over {tensor} GPUs"
        for count in _kv_heads(layout)
        if max(count, tensor) % min(count, tensor)
    ]
    experts = layout.widths.experts or 0
    if split.experts and 0 < experts < split.sharing_experts:
        faults.append(f"{experts} experts over {split.sharing_experts} GPUs")
    layers = layout.widths.layers
    if layers is not None and split.pipeline > layers:
        faults.append(f"{layers} layers in {split.pipeline} stages")
    narrow = too_narrow(layout, tensor, experts=split.experts)
    return (*dict.fromkeys(faults), *narrow)


def _kv_heads(layout: Layout) -> tuple[int, ...]:
    """Return the numbers of KV heads that GPUs share, or hold copies of."""
    groups = layout.kv.groups if layout.kv is not None else ()
    return tuple(group.heads for group in groups if group.width)


def check_wishes(layout: Layout, wishes: Wishes) -> None:
    """Refuse numbers of GPUs of the user's that cannot share ``layout``.

    Raises:
        UsageError: Heads, experts or layers cannot be shared so.
        DoesNotFitError: A block scale would be cut; with the layers, up to five.
    """
    count = wishes.tensor_parallel or 1
    stages, copies = wishes.pipeline_parallel or 1, wishes.data_parallel or 1
    whole = keeps_experts_whole(layout, count * copies, wishes)
    split = Split(count, stages, copies, experts=whole)
    narrow = too_narrow(layout, count, experts=whole)
    faults = tuple(f for f in cannot_share(layout, split) if f not in narrow)
    able = [
        n for n in range(1, count) if not cannot_share(layout, Split(n, 1, 1, whole))
    ]
    smaller = f"`--tensor-parallel-size {able[-1] if able else 1}`"
    if faults:
        raise UsageError(
            f"{layout.model} cannot be shared as was asked.",
            evidence=tuple(f"{fault}: it must divide" for fault in faults),
            fix=f"Use {smaller}, or leave it out.",
        )
    if narrow:
        raise DoesNotFitError(
            f"{count} GPUs cannot share the layers of {layout.model}: a block of 16 "
            "values has one scale, and would be cut.",
            evidence=narrow[:5],
            fix=f"Use {smaller}, or pipeline or expert parallelism, which leave layers "
            "or experts whole.",
        )
