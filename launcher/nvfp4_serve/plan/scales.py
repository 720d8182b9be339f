"""Global scales that kernels of a GPU do not keep apart. Pure."""

from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import CheckpointError

_FINDING: Final = "global-scales-differ"
#: What vLLM says when it takes one global scale for weights that have two. Where the
#: headers alone were read, its log is the first to know. vLLM 0.32.0,
#: ``quantization/modelopt.py``, ``compressed_tensors_w4a4_nvfp4.py`` and
#: ``compressed_tensors_moe_w4a4_nvfp4.py``.
SCALED_WRONGLY: Final = (
    r"w1_weight_(global_scale|scale_2) must match w3_weight_",
    r"In NVFP4 linear, the (global weight scale differs|weight global scale is diff)",
)


def check_scales(layout: Layout, *, on_gpu: bool) -> None:
    """Refuse a checkpoint that a GPU would answer wrongly from, without a word.

    The CPU engine keeps each scale with its own rows (the patch
    ``nvfp4-shard-global-scales``); the kernels for GPUs take one for all.

    Raises:
        CheckpointError: Weights of one parameter have different global scales.
    """
    found = [f for f in layout.findings if f.id == _FINDING]
    if on_gpu and found:
        raise CheckpointError(
            f"{layout.model} has global scales that the kernels of a GPU do not keep "
            "apart; it would start, and answer wrongly.",
            evidence=tuple(finding.message for finding in found),
            fix=f"{found[0].fix} A CPU serves it right (`CUDA_VISIBLE_DEVICES=`, "
            "empty).",
        )
