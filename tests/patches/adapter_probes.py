"""See what vLLM's own loaders yield; run it with an engine's Python. No model is made.

Usage: python adapter_probes.py FOLDER REPORT.json

``FOLDER`` holds one checkpoint in several layouts; ``known`` is the one of vLLM.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from nvfp4_serve_engine import hooks
from vllm.config.load import LoadConfig
from vllm.plugins import load_general_plugins

OTHERS = ("projection-first", "fused-D1", "fused-D2", "fused-D2-points", "state")
_LOADERS = "vllm.model_executor.model_loader"


def _config(folder: Path) -> Any:
    words = json.loads((folder / "config.json").read_text())
    hf_config = SimpleNamespace(architectures=words["architectures"])
    return SimpleNamespace(
        model=str(folder), model_weights=None, revision=None, hf_config=hf_config
    )


def _stream(
    folder: Path, load_format: str = "auto", second: Path | None = None, **extra: Any
) -> dict[str, torch.Tensor]:
    """Return what vLLM's loader gives a model to load."""
    from vllm.model_executor.model_loader import get_model_loader

    load = LoadConfig(load_format=load_format, model_loader_extra_config=extra)
    loader = get_model_loader(load)
    model = SimpleNamespace()
    if second is not None:
        model.secondary_weights = [loader.Source(str(second), None, prefix="second.")]
    return dict(loader.get_all_weights(_config(folder), model))


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    if one.keys() != other.keys():
        return f"other names: {sorted(one.keys() ^ other.keys())[:4]}"
    for name, tensor in one.items():
        found = other[name]
        if (tensor.shape, tensor.dtype) != (found.shape, found.dtype):
            return f"{name}: {found.shape} {found.dtype}"
        if not torch.equal(_bytes(tensor), _bytes(found)):
            return f"{name}: other bytes"
    return "the same"


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def not_wrapped() -> list[str]:
    """Every iterator over safetensors files that the two loaders call, unwrapped."""
    found = []
    for name in ("default_loader", "runai_streamer_loader"):
        module = importlib.import_module(f"{_LOADERS}.{name}")
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id.endswith("_weights_iterator")
        }
        assert calls
        found += [
            call for call in calls if not hasattr(getattr(module, call), "__wrapped__")
        ]
    return sorted(found)


def is_untouched(folder: Path) -> bool:
    """Whether a known layout gets the very iterator of vLLM."""
    from nvfp4_serve_engine.adapter import Weights, adapting

    its_own: Weights = iter(())

    def read(_: list[str]) -> Weights:
        return its_own

    return adapting(read)([str(folder / "model.safetensors")]) is its_own


def refused(load_format: str, folder: Path) -> str:
    """What a loader says that cannot be adapted; its own work is left out."""
    made = {
        "modelexpress": ("modelexpress_loader", "ModelExpressModelLoader"),
        "tensorizer": ("tensorizer_loader", "TensorizerLoader"),
    }
    module, name = made.get(load_format, ("default_loader", "DefaultModelLoader"))
    loader = object.__new__(
        getattr(importlib.import_module(f"{_LOADERS}.{module}"), name)
    )
    loader.load_config = SimpleNamespace(load_format=load_format)
    config = SimpleNamespace(model_config=_config(folder), device_config=None)
    try:
        if load_format == "modelexpress":
            loader.load_model(vllm_config=config, model_config=config.model_config)
        elif load_format == "tensorizer":
            loader._load_model_serialized_cpu(vllm_config=config)
        else:
            loader.load_weights(None, config.model_config)
    except AttributeError:
        return "let through"
    except ValueError as error:
        return str(error)
    return "loaded"


def object_storage() -> str:
    """What becomes of files that cannot be opened here."""
    from nvfp4_serve_engine.adapter import Weights, adapting

    its_own: Weights = iter(())

    def read(_: list[str]) -> Weights:
        return its_own

    found = adapting(read)(["s3://bucket/a.safetensors"])
    return "let through" if found is its_own else "?"


def _error(work: Callable[[], object]) -> str:
    try:
        work()
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def _runai(folder: Path) -> str:
    try:
        importlib.import_module("runai_model_streamer")
    except ImportError:
        return "not installed"
    known = _stream(folder / "known", "runai_streamer")
    found = [_same(known, _stream(folder / each, "runai_streamer")) for each in OTHERS]
    return next((each for each in found if each != "the same"), "the same")


def main(folder: Path, report: Path) -> None:
    """Write what each probe saw."""
    # On its own: what a CPU needs imports the loaders anyway.
    hooks.install()
    imported = f"{_LOADERS}.default_loader" in sys.modules
    load_general_plugins()
    known = _stream(folder / "known")
    b = folder / "projection-first"
    two = {**known, **{f"second.{name}": tensor for name, tensor in known.items()}}
    formats = ("pt", "npcache", "modelexpress", "tensorizer")
    seen: dict[str, object] = {
        "imported": imported,
        "not wrapped": not_wrapped(),
        "untouched": is_untouched(folder / "known"),
        "layouts": {each: _same(known, _stream(folder / each)) for each in OTHERS},
        "threads": _same(known, _stream(b, enable_multithread_load=True)),
        "second source": _same(two, _stream(folder / "known", second=b)),
        "corrupt": _error(lambda: _stream(folder / "leaked")),
        "refused": {each: refused(each, b) for each in formats},
        "let through": {each: refused(each, folder / "known") for each in formats},
        "object storage": object_storage(),
        "runai_streamer": _runai(folder),
    }
    report.write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
