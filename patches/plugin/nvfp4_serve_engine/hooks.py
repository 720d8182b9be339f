"""Where the adapter is put into vLLM's loaders, target and draft alike. vLLM 0.32.0.

=======================  ==========================================================
load format              what happens
=======================  ==========================================================
auto, hf, safetensors,   adapted; multithreaded or not
mistral, instanttensor,
fastsafetensors,
runai_streamer
pt, npcache, tensorizer, refused where the safetensors files of the folder need it
modelexpress
sharded_state,           left alone: they hold what vLLM itself had in memory, after
runai_streamer_sharded,  loading
ipc_cache, a tensorizer
file made by vLLM
dummy                    left alone: nothing is read
=======================  ==========================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Concatenate, Final, ParamSpec, Protocol, TypeGuard, TypeVar

from nvfp4_serve_engine.on_import import change_on_import

_Rest = ParamSpec("_Rest")
_Made = TypeVar("_Made")
_LOADERS: Final = "vllm.model_executor.model_loader"
#: What the loaders call with the files that they read.
DEFAULT_ITERATORS: Final = (
    "safetensors_weights_iterator",
    "multi_thread_safetensors_weights_iterator",
    "fastsafetensors_weights_iterator",
    "instanttensor_weights_iterator",
)
RUNAI_ITERATORS: Final = ("runai_safetensors_weights_iterator",)
#: These formats of ``DefaultModelLoader`` read no safetensors files.
_OTHER_FILES: Final = ("npcache", "pt")


class _HasArchitectures(Protocol):
    architectures: list[str] | None


class _ModelConfig(Protocol):
    """What is read of vLLM's ``ModelConfig``."""

    model: str
    hf_config: _HasArchitectures


class _VllmConfig(Protocol):
    model_config: _ModelConfig


class _LoadConfig(Protocol):
    load_format: str


class _Loader(Protocol):
    """What is read of vLLM's ``BaseModelLoader``."""

    load_config: _LoadConfig


def install() -> None:
    """Put the adapter in front of every safetensors stream of this process."""
    change_on_import(
        {
            f"{_LOADERS}.default_loader": _change_default,
            f"{_LOADERS}.runai_streamer_loader": _change_runai,
            f"{_LOADERS}.tensorizer_loader": _change_tensorizer,
            f"{_LOADERS}.modelexpress_loader": _change_modelexpress,
        }
    )


def _change_default(module: ModuleType) -> None:
    _wrap_iterators(module, DEFAULT_ITERATORS)
    loader = module.DefaultModelLoader
    loader.load_weights = _naming(loader.load_weights)


def _change_runai(module: ModuleType) -> None:
    _wrap_iterators(module, RUNAI_ITERATORS)
    loader = module.RunaiModelStreamerLoader
    loader.load_weights = _naming(loader.load_weights)


def _change_tensorizer(module: ModuleType) -> None:
    """Look at the folder before a stream of the checkpoint's own tensors is read."""
    loader = module.TensorizerLoader
    loader._load_model_serialized_cpu = _checking(  # noqa: SLF001  (no public one)
        loader._load_model_serialized_cpu  # noqa: SLF001
    )


def _change_modelexpress(module: ModuleType) -> None:
    loader = module.ModelExpressModelLoader
    loader.load_model = _checking(loader.load_model)


def _wrap_iterators(module: ModuleType, names: tuple[str, ...]) -> None:
    from nvfp4_serve_engine.adapter import adapting

    for name in names:
        setattr(module, name, adapting(getattr(module, name)))


def _naming(
    load: Callable[[_Loader, object, _ModelConfig], None],
) -> Callable[[_Loader, object, _ModelConfig], None]:
    """Return ``load``, which lets the adapter know the model's architecture."""
    from nvfp4_serve_engine import adapter

    @functools.wraps(load)
    def naming(self: _Loader, model: object, model_config: _ModelConfig) -> None:
        with adapter.loading(_architecture(model_config)):
            load_format = self.load_config.load_format
            if load_format in _OTHER_FILES:
                adapter.require_known_layout(model_config.model, load_format)
            load(self, model, model_config)

    return naming


def _checking(
    load: Callable[Concatenate[_Loader, _VllmConfig, _Rest], _Made],
) -> Callable[..., _Made]:
    """Return ``load``, which first refuses what it could not load right."""
    from nvfp4_serve_engine import adapter

    @functools.wraps(load)
    def checking(
        self: _Loader,
        vllm_config: _VllmConfig,
        *rest: _Rest.args,
        **named: _Rest.kwargs,
    ) -> _Made:
        given = named.get("model_config", rest[0] if rest else None)
        config = given if _is_model_config(given) else vllm_config.model_config
        with adapter.loading(_architecture(config)):
            adapter.require_known_layout(config.model, self.load_config.load_format)
        return load(self, vllm_config, *rest, **named)

    return checking


def _is_model_config(given: object) -> TypeGuard[_ModelConfig]:
    return hasattr(given, "hf_config")


def _architecture(model_config: _ModelConfig) -> str | None:
    names = model_config.hf_config.architectures
    return names[0] if names else None
