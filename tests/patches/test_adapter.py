"""Every layout on the real engine: the same answers as the known one, or a refusal.

The loaders get the same bytes, so the answers are equal to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines import engine_python
from patches.layouts import make_layouts
from patches.rearranged import Tensors, copy_as, say_legacy_w4a16
from twins.bench import Bench, EngineAnswer, LoadError

pytestmark = pytest.mark.engine

_PROMPTS = ((1, 5, 17, 33, 99, 7), (1, 20, 10, 50, 25, 12, 6, 3, 80))
_SERVED = ("projection-first", "fused-D1", "fused-D2", "fused-D2-points", "state")
_TRACKED = {"model_loader_extra_config": {"enable_weights_track": True}}
_LOST = "model.layers.0.mlp.experts.3.up_proj.weight_scale_2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_layouts(tmp_path_factory.mktemp("layouts"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    log = tmp_path_factory.mktemp("bench") / "log"
    with Bench(engine_python(), log) as bench:
        yield bench


@pytest.fixture(scope="module")
def known(bench: Bench, folder: Path) -> tuple[EngineAnswer, ...]:
    return bench.run(folder / "known", _PROMPTS, options=_TRACKED)


@pytest.mark.parametrize("layout", _SERVED)
def test_it_answers_as_the_known_layout_to_the_last_bit(
    bench: Bench, folder: Path, known: tuple[EngineAnswer, ...], layout: str
) -> None:
    answers = bench.run(folder / layout, _PROMPTS, options=_TRACKED)

    assert answers == known


def test_vllm_38980_is_refused_with_the_reason(bench: Bench, folder: Path) -> None:
    with pytest.raises(LoadError, match="vllm#38980") as caught:
        bench.run(folder / "leaked", _PROMPTS)

    assert "nvidia-modelopt 0.46 or newer" in str(caught.value)


@pytest.mark.parametrize("layout", ["known", "projection-first", "state"])
def test_a_scale_that_was_never_loaded_stops_the_start(
    bench: Bench, folder: Path, tmp_path: Path, layout: str
) -> None:
    lost = {
        "known": _LOST,
        "projection-first": _LOST.replace("3.up_proj", "up_proj.3"),
        "state": _LOST.replace("weight_scale_2", "weight_quantizer._double_scale"),
    }[layout]
    copy = copy_as(folder / layout, tmp_path / layout, _without(lost))

    # vLLM's own tracking is off here: this is the plugin's sentinel, on the CPU.
    with pytest.raises(LoadError) as caught:
        bench.run(copy, _PROMPTS)

    assert "layers.0.mlp.experts" in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "lost"),
    [
        ("known", ".down_proj.weight_scale_2"),
        ("projection-first", ".weight_scale_2"),
        ("fused-D1", ".down_proj_weight_scale_2"),
        ("fused-D2", ".gate_up_proj_input_scale"),
    ],
)
def test_vllms_own_tracking_names_a_scale_that_no_expert_has(
    bench: Bench, folder: Path, tmp_path: Path, layout: str, lost: str
) -> None:
    def change(tensors: Tensors) -> Tensors:
        return {
            name: each
            for name, each in tensors.items()
            if not (".experts." in name and name.endswith(lost))
        }

    copy = copy_as(folder / layout, tmp_path / layout, change)

    with pytest.raises(LoadError, match="were not initialized from checkpoint"):
        bench.run(copy, _PROMPTS, options=_TRACKED)


def _without(lost: str) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        assert lost in tensors
        return {name: each for name, each in tensors.items() if name != lost}

    return change


def _as_w4a16(tensors: Tensors) -> Tensors:
    return {
        name: each
        for name, each in tensors.items()
        if not name.endswith(".input_scale")
    }


def test_a_legacy_w4a16_answers_as_the_same_words_in_config_json(
    bench: Bench, folder: Path, known: tuple[EngineAnswer, ...], tmp_path: Path
) -> None:
    legacy = copy_as(folder / "known", tmp_path / "legacy", _as_w4a16)
    say_legacy_w4a16(legacy)

    # Activations are not quantised on a CPU, so W4A4 answers the same.
    assert bench.run(legacy, _PROMPTS) == known


def test_vllms_own_tracking_asks_only_w4a16_linear_layers_for_what_they_lack(
    bench: Bench, folder: Path, tmp_path: Path
) -> None:
    w4a16 = copy_as(folder / "known", tmp_path / "w4a16", _as_w4a16)
    config = json.loads((w4a16 / "config.json").read_text())
    config["quantization_config"]["quant_algo"] = "W4A16_NVFP4"
    del config["quantization_config"]["config_groups"]["group_0"]["input_activations"]
    (w4a16 / "config.json").write_text(json.dumps(config))

    with pytest.raises(LoadError, match="were not initialized") as caught:
        bench.run(w4a16, _PROMPTS, options=_TRACKED)

    first = str(caught.value).splitlines()[0]
    assert "qkv_proj.input_scale" in first
    assert "experts" not in first
