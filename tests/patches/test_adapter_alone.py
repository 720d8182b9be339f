"""What the adapter decides before vLLM's loaders; vLLM and torch are stand-ins."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from nvfp4_layouts.types import RewriteError
from nvfp4_serve_engine.headers import files_of, read_headers

_ENGINE = "nvfp4_serve_engine"
_KNOWN = "model.layers.0.mlp.experts.0.up_proj.weight"
_FOREIGN = "model.layers.0.mlp.experts.up_proj.0.weight"


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("torch", "vllm", "vllm.logger"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    for name in (f"{_ENGINE}.adapter", f"{_ENGINE}.stream"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = importlib.import_module(f"{_ENGINE}.adapter")
    for name in (f"{_ENGINE}.adapter", f"{_ENGINE}.stream"):
        monkeypatch.delitem(sys.modules, name)
    return made


def _write(file: Path, text: str) -> None:
    raw = text.encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw)


def _write_tensor(file: Path, name: str) -> None:
    entry = {"dtype": "U8", "shape": [0, 0], "data_offsets": [0, 0]}
    _write(file, json.dumps({name: entry}))


def _load(adapter: ModuleType, model: str) -> object:
    loader = SimpleNamespace(load_config=SimpleNamespace(load_format="modelexpress"))
    config = SimpleNamespace(
        model=model, hf_config=SimpleNamespace(architectures=["A"])
    )
    return adapter._with_refusal(loader, lambda *_: "loaded", None, config)


def _warnings(adapter: Any) -> str:
    return str(adapter.logger.warning.call_args_list)


def test_a_hub_id_is_not_loaded_without_a_word(adapter: ModuleType) -> None:
    assert _load(adapter, "owner/name") == "loaded"
    assert "owner/name" in _warnings(adapter)
    assert "nothing checked" in _warnings(adapter)


def test_a_folder_is_looked_at(adapter: ModuleType, tmp_path: Path) -> None:
    _write_tensor(tmp_path / "model.safetensors", _FOREIGN)

    with pytest.raises(ValueError, match="modelexpress cannot serve"):
        _load(adapter, str(tmp_path))


def test_files_that_the_index_leaves_out_are_not_looked_at(
    adapter: ModuleType, tmp_path: Path
) -> None:
    _write_tensor(tmp_path / "model-1.safetensors", _KNOWN)
    _write_tensor(tmp_path / "consolidated.safetensors", _FOREIGN)
    index = {"weight_map": {_KNOWN: "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    assert _load(adapter, str(tmp_path)) == "loaded"
    assert _warnings(adapter) == "[]"


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000])
def test_an_index_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)

    with pytest.raises(RewriteError, match="index"):
        files_of(tmp_path)


def test_a_header_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    _write(file, '{"__metadata__": ' + "[" * 100_000)

    with pytest.raises(RewriteError, match="cannot be read"):
        read_headers([str(file)])


def test_a_second_call_changes_nothing(
    adapter: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(adapter, "change_on_import", calls.append)

    adapter.install()
    adapter.install()

    assert len(calls) == 1
