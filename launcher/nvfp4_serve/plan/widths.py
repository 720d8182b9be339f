"""Which numbers of GPUs can share each layer, by the widths of packed weights. Pure."""

from typing import Final

from nvfp4_serve.checkpoint.types import Layout

#: Input features that share one block scale.
_BLOCK: Final = 16
#: Layers that tensor parallelism cuts along their input features; vLLM 0.32.0,
#: ``RowParallelLinear`` of its models, and ``FusedMoEConfig``,
#: ``intermediate_size_per_partition``; ``out_proj`` is that of linear attention and of
#: Mamba 2.
_CUT: Final = (".o_proj", ".out_proj", ".down_proj", ".w2")


def too_narrow(layout: Layout, count: int, *, experts: bool) -> tuple[str, ...]:
    """Return the layers that ``count`` GPUs cannot share, one line each.

    A block scale cannot be cut: each GPU's part must be a multiple of 16 wide.

    Args:
        layout: The checkpoint.
        count: GPUs that share a layer.
        experts: Experts stay whole.

    Source:
        vLLM 0.32.0, quantization/modelopt.py, KNvfp4Static.create_weights.
    """
    return tuple(
        f"{name}: {width} input features over {count} GPUs; each GPU's part must be a "
        f"multiple of {_BLOCK}"
        for name, width in layout.input_widths.items()
        if name.endswith(_CUT) and not (experts and ".experts." in name)
        if count > 1 and width % (count * _BLOCK)
    )
