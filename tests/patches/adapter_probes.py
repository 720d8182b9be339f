"""See what vLLM's own loaders yield; run it with an engine's Python. No model is made.

Usage: python adapter_probes.py FOLDER REPORT.json

``FOLDER`` holds one checkpoint in several layouts; ``known`` is the one of vLLM.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from nvfp4_serve_engine import adapter
from nvfp4_serve_engine.stream import Weights
from safetensors.torch import load_file
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


def expert_filter(folder: Path) -> str:
    """Whether a process that has some of the experts gets theirs, and the rest."""
    from vllm.model_executor.model_loader import get_model_loader

    def stream(name: str) -> dict[str, torch.Tensor]:
        loader = get_model_loader(LoadConfig())
        loader.local_expert_ids = {1, 2}
        return dict(loader.get_all_weights(_config(folder / name), SimpleNamespace()))

    known = stream("known")
    # vLLM leaves out the weights of other experts, and keeps their small scales.
    weight = "model.layers.0.mlp.experts.{}.up_proj.weight".format
    assert weight(1) in known
    assert weight(0) not in known
    found = [_same(known, stream(each)) for each in OTHERS]
    return next((each for each in found if each != "the same"), "the same")


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


def ways_around() -> list[str]:
    """Every place where the two loaders get at weights, and that is not wrapped."""
    found = []
    for name, owner in (
        ("default_loader", "DefaultModelLoader"),
        ("runai_streamer_loader", "RunaiModelStreamerLoader"),
    ):
        module = importlib.import_module(f"{_LOADERS}.{name}")
        wrapped = {
            method
            for method, value in vars(getattr(module, owner)).items()
            if isinstance(value, functools.partialmethod)
        }
        tree = ast.parse(inspect.getsource(module))
        calls = [
            (each.name, called.rpartition(".")[2])
            for each in ast.walk(tree)
            if isinstance(each, ast.FunctionDef)
            for called in _called(each)
        ]
        inner = [by for by, called in calls if called.endswith("s_weights_iterator")]
        assert inner
        assert {"_get_weights_iterator", "_prepare_weights"} <= {
            called for _, called in calls
        }
        needed = {*inner, "get_all_weights", "_prepare_weights"}
        found += [f"{owner}.{each}" for each in needed - wrapped]
    return sorted(found)


def _called(function: ast.FunctionDef) -> list[str]:
    return [
        ast.unparse(node.func)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    ]


def is_untouched(folder: Path) -> bool:
    """Whether a known layout gets the very iterator of vLLM."""
    its_own: Weights = iter(())
    files = [str(folder / "model.safetensors")]
    listed = {adapter._LISTED: (str(folder), files, True, "")}
    stream = adapter._default_stream(
        SimpleNamespace(**listed), lambda *_: its_own, None
    )
    return stream is its_own


def refused(load_format: str, folder: Path) -> str:
    """What a loader says that cannot be adapted; its own work is left out."""
    made = {
        "modelexpress": ("modelexpress_loader", "ModelExpressModelLoader"),
        "tensorizer": ("tensorizer_loader", "TensorizerLoader"),
    }
    module, name = made[load_format]
    loader = object.__new__(
        getattr(importlib.import_module(f"{_LOADERS}.{module}"), name)
    )
    loader.load_config = SimpleNamespace(load_format=load_format)
    config = SimpleNamespace(model_config=_config(folder), device_config=None)
    try:
        if load_format == "modelexpress":
            loader.load_model(vllm_config=config, model_config=config.model_config)
        else:
            loader._load_model_serialized_cpu(vllm_config=config)
    except AttributeError:
        return "let through"
    except ValueError as error:
        return str(error)
    return "loaded"


def object_storage(folder: Path) -> dict[str, str]:
    """What becomes of a stream whose headers cannot be read beforehand."""
    files = {adapter._LISTED: ["s3://bucket/model.safetensors"]}
    seen = {}
    for name in ("known", "projection-first", "leaked"):
        raw = load_file(folder / name / "model.safetensors")
        loader = SimpleNamespace(**files)

        def stream(loader: Any = loader, raw: Any = raw) -> object:
            return _same(
                raw, dict(adapter._runai_stream(loader, lambda _: raw.items()))
            )

        seen[name] = _outcome(stream)
    return seen


def _outcome(work: Callable[[], object]) -> str:
    try:
        return str(work())
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


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
    # First on its own: what a CPU needs imports the loaders anyway. The plugin's call
    # of it is the second, which does nothing.
    adapter.install()
    imported = f"{_LOADERS}.default_loader" in sys.modules
    load_general_plugins()
    known = _stream(folder / "known")
    b = folder / "projection-first"
    two = {**known, **{f"second.{name}": tensor for name, tensor in known.items()}}
    formats = ("modelexpress", "tensorizer")
    seen: dict[str, object] = {
        "imported": imported,
        "ways around": ways_around(),
        "untouched": is_untouched(folder / "known"),
        "layouts": {each: _same(known, _stream(folder / each)) for each in OTHERS},
        "threads": _same(known, _stream(b, enable_multithread_load=True)),
        "second source": _same(two, _stream(folder / "known", second=b)),
        "expert filter": expert_filter(folder),
        "corrupt": _outcome(lambda: _stream(folder / "leaked")),
        "refused": {each: refused(each, b) for each in formats},
        "let through": {each: refused(each, folder / "known") for each in formats},
        "object storage": object_storage(folder),
        "runai_streamer": _runai(folder),
    }
    report.write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
