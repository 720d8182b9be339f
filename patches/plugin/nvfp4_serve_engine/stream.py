"""A weight stream as the loaders know it. Torch only; no vLLM.

Every piece is a view of the stored tensor, made when it comes by: nothing is held
back, and no weight is copied. Only a scale that is divided is a new tensor, of one
value or one for each expert.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from nvfp4_layouts.fused import told_apart
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Piece, Rewrite, RewriteError, Stored

Weights = Iterable[tuple[str, torch.Tensor]]

#: The words of a safetensors header, as far as a layout depends on them.
_DTYPES = {
    torch.uint8: "U8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
}
#: Names that a rewrite may depend on by themselves.
_SUSPECT = re.compile(r"_quantizers?\.|\.experts\.[a-z]")


def rewritten(
    weights: Weights,
    rewrite: Rewrite,
    prefix: str = "",
    is_skipped: Callable[[str], bool] = lambda _: False,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what comes of each tensor of ``weights``.

    Args:
        weights: Names and tensors, as they are stored.
        rewrite: What becomes of them.
        prefix: What stands before every stored name in ``weights``.
        is_skipped: Whether a piece of this name is not wanted by this process.
    """
    pieces: Mapping[str, tuple[Piece, ...]] = rewrite.pieces
    for name, tensor in weights:
        made = pieces.get(name.removeprefix(prefix))
        if made is None:
            yield name, tensor
            continue
        for piece in made:
            if not is_skipped(piece.name):
                yield prefix + piece.name, taken(piece, tensor)


def taken(piece: Piece, tensor: torch.Tensor) -> torch.Tensor:
    """Return ``piece`` of the stored ``tensor``.

    Raises:
        RewriteError: The tensor is not the one that the header describes.
    """
    made = tensor
    if piece.expert is not None:
        made = made[piece.expert]
    if piece.transpose:
        made = made.transpose(0, 1)
    if piece.rows is not None:
        first, last = piece.rows
        made = made[first:last]
    if piece.divisor is not None:
        made = made.to(torch.float32) / piece.divisor
    if not piece.shape:
        made = made.reshape(())
    if tuple(made.shape) != piece.shape:
        raise RewriteError(
            f"`{piece.name}` should be {list(piece.shape)} and comes as "
            f"{list(made.shape)}.",
            evidence=(f"the tensor that was read: {list(tensor.shape)}",),
            fix="The files changed while they were read; start again.",
        )
    return made


def watched(
    weights: Weights, architecture: str | None, load_format: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield ``weights`` as they are, whose headers cannot be read beforehand.

    Raises:
        RewriteError: They need a rewrite, or cannot be right.
    """
    seen: dict[str, Stored] = {}
    for name, tensor in weights:
        dtype = _DTYPES.get(tensor.dtype, str(tensor.dtype))
        seen[name] = Stored(dtype, tuple(tensor.shape))
        if _SUSPECT.search(name) and not _stays(told_apart(name, seen), architecture):
            raise not_covered(load_format, [f"{name} {seen[name]}"])
        yield name, tensor
    rewrite = make_rewrite(seen, architecture)
    if rewrite is not None:
        raise not_covered(load_format, rewrite.pieces)


def _stays(tensors: Mapping[str, Stored], architecture: str | None) -> bool:
    """Return whether ``tensors`` are what a loader knows, as far as they say it."""
    try:
        return make_rewrite(tensors, architecture) is None
    except RewriteError:
        return False


def not_covered(load_format: str, names: Iterable[str]) -> RewriteError:
    """Return the error of a load format whose stream is not ours to rewrite."""
    return RewriteError(
        f"The load format {load_format} cannot serve this checkpoint: its tensors are "
        "not stored in the layout that vLLM knows, and nothing rewrites them there.",
        evidence=sorted(names)[:4],
        fix="Copy it into a folder; `nvfp4-serve inspect` says whether `--load-format "
        "auto` serves it, and `nvfp4-serve repair SRC DST` makes it right for good.",
    )
