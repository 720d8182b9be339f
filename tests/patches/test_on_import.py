"""A module is changed when it is imported, and not lost when that fails at first."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
from nvfp4_serve_engine.on_import import change_on_import


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"changed_{tmp_path.name}".replace("-", "_")
    source = (
        "import os\n"
        "if os.environ.get('CANNOT_BE_IMPORTED'):\n"
        "    raise ImportError('not now')\n"
        "seen = []\n"
    )
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.delitem(sys.modules, name, raising=False)
    change_on_import({name: lambda made: made.seen.append("changed")})
    return name


def test_a_module_is_changed_when_it_is_imported(module: str) -> None:
    assert importlib.import_module(module).seen == ["changed"]


def test_a_look_up_leaves_the_change_for_the_import(module: str) -> None:
    assert importlib.util.find_spec(module) is not None
    assert importlib.util.find_spec(module) is not None

    assert importlib.import_module(module).seen == ["changed"]


def test_an_import_that_fails_leaves_the_change_for_the_next(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANNOT_BE_IMPORTED", "1")
    with pytest.raises(ImportError, match="not now"):
        importlib.import_module(module)
    monkeypatch.delenv("CANNOT_BE_IMPORTED")

    assert importlib.import_module(module).seen == ["changed"]


def test_a_module_that_is_there_is_changed_at_once(module: str) -> None:
    made = importlib.import_module(module)

    change_on_import({module: lambda again: again.seen.append("at once")})

    assert made.seen == ["changed", "at once"]
