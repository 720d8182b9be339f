"""Foreign layouts, rewritten in front of ``model.load_weights``.

vLLM's loaders first list the files of a checkpoint and then stream their tensors. What
is added here reads the headers of the very files that were listed, and decides before
the first tensor is read. It works on the names as they are stored, before any mapping
of the model. Source: vLLM 0.32.0, ``model_loader/default_loader.py`` and
``runai_streamer_loader.py``; every target and draft model comes through one of them.

=======================  ==========================================================
load format              what happens
=======================  ==========================================================
auto, hf, safetensors,   rewritten where the headers say so; a known layout gets the
mistral, instanttensor,  very iterator of vLLM
fastsafetensors,
runai_streamer
the same from object     watched: the first tensor that a rewrite would change stops
storage                  the load; a fused weight once its block scales came by
modelexpress, tensorizer refused where the folder's safetensors files need a rewrite;
                         a warning where there are none to look at, as with a Hub id
tensorizer by vLLM,      left alone: they hold what vLLM had in memory after loading
sharded_state,
runai_streamer_sharded,
ipc_cache
pt, npcache, dummy       left alone: they read no safetensors file
=======================  ==========================================================
"""

# ruff: noqa: ANN401  (vLLM's loaders have no types that are seen here)

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Rewrite
from vllm.logger import init_logger

from nvfp4_serve_engine.headers import files_of, read_headers
from nvfp4_serve_engine.on_import import change_on_import
from nvfp4_serve_engine.stream import Weights, not_covered, rewritten, watched

logger = init_logger("vllm.nvfp4_serve_engine.adapter")

_LOADERS = "vllm.model_executor.model_loader"
_ARCHITECTURE = "_nvfp4_serve_architecture"
_LISTED = "_nvfp4_serve_listed"
#: In the name of a file of object storage (``s3://``), and of no file of a folder.
_REMOTE = "://"
_installed = False


def install() -> None:
    """Put the adapter in front of the weights of every loader; once a process."""
    global _installed  # noqa: PLW0603  (vLLM's loaders are per process, too)
    if _installed:
        return
    _installed = True
    change_on_import(
        {
            f"{_LOADERS}.default_loader": _change_default,
            f"{_LOADERS}.runai_streamer_loader": _change_runai,
            f"{_LOADERS}.modelexpress_loader": _change_modelexpress,
            f"{_LOADERS}.tensorizer_loader": _change_tensorizer,
        }
    )


def _change_default(module: ModuleType) -> None:
    _wrap(module.DefaultModelLoader, "get_all_weights", _with_architecture)
    _wrap(module.DefaultModelLoader, "_prepare_weights", _with_listing)
    _wrap(module.DefaultModelLoader, "_get_weights_iterator", _default_stream)


def _change_runai(module: ModuleType) -> None:
    _wrap(module.RunaiModelStreamerLoader, "get_all_weights", _with_architecture)
    _wrap(module.RunaiModelStreamerLoader, "_prepare_weights", _with_listing)
    _wrap(module.RunaiModelStreamerLoader, "_get_weights_iterator", _runai_stream)


def _change_modelexpress(module: ModuleType) -> None:
    _wrap(module.ModelExpressModelLoader, "load_weights", _with_refusal)
    _wrap(module.ModelExpressModelLoader, "load_model", _with_refusal)


def _change_tensorizer(module: ModuleType) -> None:
    # Called for a file that holds a checkpoint's own tensors, not what vLLM wrote.
    _wrap(module.TensorizerLoader, "_load_model_serialized_cpu", _with_refusal)


def _wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    wrapped = functools.partialmethod(wrapper, original)
    setattr(owner, name, wrapped)


def _with_architecture(
    loader: Any, original: Callable[..., Any], model_config: Any, model: Any
) -> Any:
    setattr(loader, _ARCHITECTURE, architecture_of(model_config))
    return original(loader, model_config, model)


def architecture_of(model_config: Any) -> str | None:
    """Return ``architectures[0]`` of the config that this model was built from."""
    names = getattr(model_config.hf_config, "architectures", None)
    return names[0] if names else None


def _with_listing(
    loader: Any, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    listed = original(loader, *args, **kwargs)
    setattr(loader, _LISTED, listed)
    return listed


def _default_stream(loader: Any, original: Callable[..., Any], source: Any) -> Weights:
    stream: Weights = original(loader, source)  # lists the files; reads no tensor
    _, files, is_safetensors, _ = getattr(loader, _LISTED)
    if not is_safetensors:
        return stream
    rewrite = _rewrite_of(files, getattr(loader, _ARCHITECTURE, None))
    if rewrite is None:
        return stream
    # Not at the top: it imports vLLM's loaders, which most processes need not do.
    from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight

    ours = loader.local_expert_ids
    return rewritten(
        stream,
        rewrite,
        source.prefix,
        lambda name: bool(should_skip_weight(name, ours)),
    )


def _runai_stream(
    loader: Any, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Weights:
    stream: Weights = original(loader, *args, **kwargs)
    files: list[str] = getattr(loader, _LISTED)
    architecture = getattr(loader, _ARCHITECTURE, None)
    if any(_REMOTE in file for file in files):
        return watched(stream, architecture, "runai_streamer from object storage")
    rewrite = _rewrite_of(files, architecture)
    return stream if rewrite is None else rewritten(stream, rewrite)


def _rewrite_of(files: Iterable[str], architecture: str | None) -> Rewrite | None:
    """Return what becomes of the tensors of ``files``, and say it in the log."""
    rewrite = make_rewrite(read_headers(files), architecture)
    if rewrite is not None:
        logger.info_once(
            "%d tensors are shown to vLLM under the layout that it knows, as %d (%s). "
            "`nvfp4-serve repair SRC DST` makes that permanent.",
            len(rewrite.pieces),
            sum(map(len, rewrite.pieces.values())),
            ", ".join(sorted(rewrite.kinds)),
        )
    return rewrite


def _with_refusal(
    loader: Any, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Call a loader whose stream is not ours, unless it would need the adapter."""
    given = (*args, *kwargs.values())
    own = [value for value in given if hasattr(value, "hf_config")]
    whole = [value.model_config for value in given if hasattr(value, "model_config")]
    config = (own + whole)[0]
    files = files_of(Path(config.model))
    if not files:
        logger.warning(
            "The load format %s reads its tensors by itself, and %s is no folder with "
            "safetensors files: nothing checked whether they are stored in the layout "
            "that vLLM knows. To have that checked, name the folder of the checkpoint.",
            loader.load_config.load_format,
            config.model,
        )
    rewrite = make_rewrite(read_headers(files), architecture_of(config))
    if rewrite is not None:
        raise not_covered(loader.load_config.load_format, rewrite.pieces)
    return original(loader, *args, **kwargs)
