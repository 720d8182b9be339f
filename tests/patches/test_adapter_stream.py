"""What vLLM's own loaders yield for each layout, tensor by tensor, to the last bit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from patches.layouts import make_layouts

pytestmark = pytest.mark.engine

_PROBES = Path(__file__).resolve().parent / "adapter_probes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_layouts(tmp_path_factory.mktemp("layouts"))


@pytest.fixture(scope="module")
def seen(patched: str, folder: Path) -> dict[str, Any]:
    return _look(patched, folder)


def _look(python: str, folder: Path) -> dict[str, Any]:
    report = folder / "report.json"
    done = subprocess.run(
        [python, "-I", str(_PROBES), str(folder), str(report)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(report.read_text())
    return told


def test_a_known_layout_gets_the_very_iterator_of_vllm(seen: dict[str, Any]) -> None:
    assert seen["untouched"] is True


def test_every_layout_is_yielded_as_the_known_one(seen: dict[str, Any]) -> None:
    assert set(seen["layouts"].values()) == {"the same"}, seen["layouts"]


def test_threads_make_no_difference(seen: dict[str, Any]) -> None:
    assert seen["threads"] == "the same"


def test_a_process_gets_the_experts_that_are_its_own(seen: dict[str, Any]) -> None:
    assert seen["expert filter"] == "the same"


def test_a_second_source_is_adapted_by_itself(seen: dict[str, Any]) -> None:
    assert seen["second source"] == "the same"


def test_vllm_38980_is_refused_before_anything_is_yielded(
    seen: dict[str, Any],
) -> None:
    assert seen["corrupt"].startswith("RewriteError: ")
    assert "vllm#38980" in seen["corrupt"]
    assert "Fix: " in seen["corrupt"]


def test_vllms_loaders_have_no_way_around_the_adapter(seen: dict[str, Any]) -> None:
    assert seen["ways around"] == []


def test_the_plugin_does_not_import_vllms_loaders(seen: dict[str, Any]) -> None:
    assert seen["imported"] is False


@pytest.mark.parametrize("load_format", ["modelexpress", "tensorizer"])
def test_a_format_that_cannot_be_adapted_is_refused_by_name(
    seen: dict[str, Any], load_format: str
) -> None:
    assert f"The load format {load_format} cannot" in seen["refused"][load_format]
    assert "nvfp4-serve repair" in seen["refused"][load_format]
    assert seen["let through"][load_format] == "let through"


def test_a_stream_from_object_storage_is_watched(seen: dict[str, Any]) -> None:
    assert seen["object storage"]["known"] == "the same"
    for layout in ("projection-first", "leaked"):
        assert seen["object storage"][layout].startswith("RewriteError: ")


def test_runai_streamer_is_adapted_where_it_is_installed(
    seen: dict[str, Any],
) -> None:
    if seen["runai_streamer"] == "not installed":
        pytest.skip("runai-model-streamer is not part of the managed engine")
    assert seen["runai_streamer"] == "the same"
