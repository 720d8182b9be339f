"""NVFP4 rounding in torch, so that training can see what quantization will do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

BLOCK: Final = 16
_E2M1_MAX: Final = 6.0
_E4M3_MAX: Final = 448.0
#: Half-way points between the magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6.
_BOUNDS: Final = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
_MAGNITUDES: Final = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def round_to_nvfp4(values: torch.Tensor) -> torch.Tensor:
    """Return ``values`` as NVFP4 would hold them; gradients pass unchanged.

    Blocks of 16 along the last dimension share an E4M3 scale; the leading
    dimensions share one F32 scale, ``amax / (6 * 448)``.
    """
    blocks = values.detach().float().unflatten(-1, (-1, BLOCK))
    amax = blocks.abs().amax(-1, keepdim=True)
    global_scale = amax.max().clamp(min=1e-12) / (_E2M1_MAX * _E4M3_MAX)
    block_scale = (amax / _E2M1_MAX / global_scale).to(torch.float8_e4m3fn).float()
    scale = block_scale * global_scale
    unit = torch.where(scale > 0, blocks / scale, 0.0)
    rounded = _MAGNITUDES[torch.bucketize(unit.abs(), _BOUNDS)] * unit.sign() * scale
    return values + (rounded.flatten(-2) - values.detach()).to(values.dtype)


class Nvfp4Arithmetic(TorchFunctionMode):
    """Round the operands of every linear layer, as a GPU with NVFP4 does.

    Args:
        keep: Weights whose layers stay as they are (the routers, ``lm_head``).
        weights: Round the weights.
        activations: Round the activations.
    """

    def __init__(
        self, keep: Iterable[torch.Tensor], *, weights: bool, activations: bool
    ) -> None:
        super().__init__()
        self._keep = {id(weight) for weight in keep}
        self._weights = weights
        self._activations = activations

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is functional.linear and id(args[1]) not in self._keep:
            hidden, weight, *rest = args
            if self._activations and hidden.numel() > 0:
                hidden = round_to_nvfp4(hidden)
            if self._weights:
                weight = round_to_nvfp4(weight)
            args = (hidden, weight, *rest)
        return func(*args, **(kwargs or {}))
