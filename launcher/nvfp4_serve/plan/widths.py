"""Which numbers of GPUs can share each layer, by the widths of packed weights. Pure."""

from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.plan.wishes import Wishes

#: Input features that share one block scale.
_BLOCK: Final = 16
#: Layers that tensor parallelism cuts along their input features; vLLM 0.32.0,
#: ``RowParallelLinear`` of its models, and ``FusedMoEConfig``,
#: ``intermediate_size_per_partition``; ``out_proj`` is that of linear attention and of
#: Mamba 2.
_CUT: Final = (".o_proj", ".out_proj", ".down_proj", ".w2")


def too_narrow(layout: Layout, count: int, wishes: Wishes) -> tuple[str, ...]:
    """Return the layers that ``count`` GPUs cannot share, one line each.

    A block scale cannot be cut: each GPU's part must be a multiple of 16 wide. With
    expert parallelism experts stay whole.

    Source:
        vLLM 0.32.0, quantization/modelopt.py, KNvfp4Static.create_weights.
    """
    return tuple(
        f"{name}: {width} input features over {count} GPUs; each GPU's part must be a "
        f"multiple of {_BLOCK}"
        for name, width in layout.input_widths.items()
        if name.endswith(_CUT) and not (wishes.expert_parallel and ".experts." in name)
        if count > 1 and width % (count * _BLOCK)
    )


def check_widths(layout: Layout, wishes: Wishes) -> None:
    """Refuse a ``--tensor-parallel-size`` of the user's that cuts a block scale.

    Raises:
        DoesNotFitError: With every layer that is too narrow, up to five.
    """
    count = wishes.tensor_parallel or 1
    if narrow := too_narrow(layout, count, wishes):
        heads = layout.attention_heads or 0
        able = [
            n
            for n in range(1, count)
            if heads % n == 0 and not too_narrow(layout, n, wishes)
        ]
        raise DoesNotFitError(
            f"{count} GPUs cannot share the layers of {layout.model}: a block of "
            f"{_BLOCK} values has one scale, and would be cut.",
            evidence=narrow[:5],
            fix=f"Use `--tensor-parallel-size {able[-1]}`, or pipeline or expert "
            "parallelism, which leave layers or experts whole.",
        )
