"""Shows a loader the layout that vLLM knows, whatever is stored.

It stands in front of the weight stream of every model that vLLM loads from
safetensors, drafts included. What becomes of which tensor is decided by
``nvfp4_layouts``, from the headers of the very files that are about to be read. A
checkpoint that needs nothing gets vLLM's own iterator, untouched.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, Protocol

import torch
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Piece, Rewrite
from vllm.logger import init_logger

from nvfp4_serve_engine.headers import read_headers

logger = init_logger("vllm.nvfp4_serve_engine.adapter")

Weights = Iterator[tuple[str, torch.Tensor]]
_Rest = ParamSpec("_Rest")


class _HasArchitectures(Protocol):
    architectures: list[str] | None


class _ModelConfig(Protocol):
    """What is read of vLLM's ``ModelConfig``; a draft has one of its own."""

    hf_config: _HasArchitectures


#: What vLLM's loaders call with the files that they read. vLLM 0.32.0,
#: ``default_loader.py`` and ``runai_streamer_loader.py``.
_ITERATORS = {
    "vllm.model_executor.model_loader.default_loader": (
        "safetensors_weights_iterator",
        "multi_thread_safetensors_weights_iterator",
        "fastsafetensors_weights_iterator",
        "instanttensor_weights_iterator",
    ),
    "vllm.model_executor.model_loader.runai_streamer_loader": (
        "runai_safetensors_weights_iterator",
    ),
}
_architecture: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "architecture", default=None
)


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


def install() -> None:
    """Put the adapter in front of every safetensors stream of this process."""
    for module_name, names in _ITERATORS.items():
        module = importlib.import_module(module_name)
        for name in names:
            setattr(module, name, _adapting(getattr(module, name)))
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
    from vllm.model_executor.model_loader.runai_streamer_loader import (
        RunaiModelStreamerLoader,
    )

    for loader in (DefaultModelLoader, RunaiModelStreamerLoader):
        loader.load_weights = _naming(loader.load_weights)


def _adapting(
    read: Callable[Concatenate[list[str], _Rest], Weights],
) -> Callable[Concatenate[list[str], _Rest], Weights]:
    """Return ``read``, its stream adapted where the headers say that it has to be.

    Raises, when it is called:
        RewriteError: No loader could serve these files right.
    """

    @functools.wraps(read)
    def adapting(
        hf_weights_files: list[str], /, *rest: _Rest.args, **named: _Rest.kwargs
    ) -> Weights:
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

    return adapting


def _naming(
    load: Callable[[object, object, _ModelConfig], None],
) -> Callable[[object, object, _ModelConfig], None]:
    """Return ``load``, which lets the adapter know the model's architecture."""

    @functools.wraps(load)
    def naming(self: object, model: object, model_config: _ModelConfig) -> None:
        names = model_config.hf_config.architectures
        token = _architecture.set(names[0] if names else None)
        try:
            load(self, model, model_config)
        finally:
            _architecture.reset(token)

    return naming
