"""Shows a loader the layout that vLLM knows, whatever is stored.

What becomes of which tensor is decided by ``nvfp4_layouts``, from the headers of the
very files that are about to be read. A checkpoint that needs nothing gets vLLM's own
iterator, untouched.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec

import torch
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Piece, Rewrite, RewriteError
from vllm.logger import init_logger

from nvfp4_serve_engine.headers import read_headers

logger = init_logger("vllm.nvfp4_serve_engine.adapter")

Weights = Iterator[tuple[str, torch.Tensor]]
_Rest = ParamSpec("_Rest")
#: ``architectures[0]`` of the model that is being loaded; a draft has one of its own.
_architecture: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "architecture", default=None
)


@contextlib.contextmanager
def loading(architecture: str | None) -> Iterator[None]:
    """Let what is read meanwhile be the weights of a model of ``architecture``."""
    token = _architecture.set(architecture)
    try:
        yield
    finally:
        _architecture.reset(token)


def adapted(weights: Weights, rewrite: Rewrite) -> Weights:
    """Yield what a loader should see; each weight is a view of what was read."""
    for name, tensor in weights:
        pieces = rewrite.pieces.get(name)
        if pieces is None:
            yield name, tensor
            continue
        for piece in pieces:
            yield piece.name, take(tensor, piece)


def take(tensor: torch.Tensor, piece: Piece) -> torch.Tensor:
    """Return ``piece`` of a stored tensor: a view, or a scale that was divided."""
    if piece.expert is not None:
        tensor = tensor[piece.expert]
    if piece.transpose:
        tensor = tensor.transpose(-1, -2)
    if piece.rows is not None:
        tensor = tensor[piece.rows[0] : piece.rows[1]]
    if piece.divisor is not None:
        tensor = tensor.float() / piece.divisor
    return tensor.reshape(piece.shape) if not piece.shape else tensor


def adapting(
    read: Callable[Concatenate[list[str], _Rest], Weights],
) -> Callable[Concatenate[list[str], _Rest], Weights]:
    """Return ``read``, its stream adapted where the headers say that it has to be.

    Raises, when it is called:
        RewriteError: No loader could serve these files right.
    """

    @functools.wraps(read)
    def read_adapted(
        hf_weights_files: list[str], /, *rest: _Rest.args, **named: _Rest.kwargs
    ) -> Weights:
        remote = [file for file in hf_weights_files if "://" in str(file)]
        if remote:
            logger.warning(
                "The layout of %s was not checked: its headers are in object storage. "
                "It is loaded as vLLM does by itself.",
                remote[0],
            )
            return read(hf_weights_files, *rest, **named)
        tensors = read_headers(hf_weights_files)
        rewrite = make_rewrite(tensors, _architecture.get())
        weights = read(hf_weights_files, *rest, **named)
        if rewrite is None:
            return weights
        logger.info(
            "%d of %d tensors are shown to vLLM under the layout that it knows (%s).",
            len(rewrite.pieces),
            len(tensors),
            ", ".join(sorted(rewrite.kinds)),
        )
        return adapted(weights, rewrite)

    return read_adapted


def require_known_layout(folder: str, load_format: str) -> None:
    """Refuse a checkpoint that has to be adapted, where its stream cannot be.

    Raises:
        RewriteError: Its safetensors files need a rewrite, or cannot be served.
    """
    files = sorted(map(str, Path(folder).glob("*.safetensors")))
    if not os.path.isdir(folder) or not files:  # noqa: PTH112  (a name of the Hub, too)
        return
    rewrite = make_rewrite(read_headers(files), _architecture.get())
    if rewrite is not None:
        raise RewriteError(
            f"`--load-format {load_format}` cannot load this checkpoint: vLLM does not "
            f"know its layout ({', '.join(sorted(rewrite.kinds))}), and this way of "
            "loading cannot be adapted.",
            evidence=(f"{len(rewrite.pieces):,} tensors of `{folder}`",),
            fix="Leave --load-format out, or make the layout a known one with "
            "`nvfp4-serve repair SRC DST`.",
        )
