"""The real patched engine against the reference, and the bench against its faults."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from twins.bench import Bench, LoadError, compare
from twins.corruption import (
    Fault,
    corrupted,
    global_scale_of_one,
    halved_block_scales,
    no_global_scale,
    swapped_nibbles,
)
from twins.producer import Twin
from twins.qwen3_reference import load_reference
from twins.relabelled import as_compressed_tensors
from twins.specimens import (
    BFLOAT16,
    DENSE,
    EXAMPLE,
    FP8_CACHE_DENSE,
    FP8_CACHE_MOE,
    MOE,
    WEIGHT_ONLY_MOE,
    random_texts,
    tolerance_of,
)

pytestmark = pytest.mark.engine


def test_the_example_recites(bench: Bench) -> None:
    canary: dict[str, str] = json.loads((EXAMPLE / "canary.json").read_text())

    answers = bench.run(EXAMPLE, list(canary), max_tokens=400)

    assert [answer.text for answer in answers] == list(canary.values())
    report = compare(answers, load_reference(EXAMPLE), BFLOAT16)
    print(report)  # noqa: T201 - the measured numbers, for `pytest -rP`
    assert not report.broken


@pytest.mark.producer
@pytest.mark.parametrize(
    "twin",
    [
        pytest.param(MOE, id="moe"),
        pytest.param(DENSE, id="dense"),
        pytest.param(WEIGHT_ONLY_MOE, id="moe-W4A16"),
        pytest.param(FP8_CACHE_MOE, id="moe-FP8-cache"),
        pytest.param(FP8_CACHE_DENSE, id="dense-W4A16-FP8-cache"),
    ],
)
def test_a_fresh_export_agrees_with_its_reference(
    twin: Twin, fresh_twins: Mapping[Twin, Path], bench: Bench
) -> None:
    folder = fresh_twins[twin]

    answers = bench.run(folder, random_texts(twin.vocabulary))

    report = compare(answers, load_reference(folder), tolerance_of(twin))
    print(report)  # noqa: T201 - the measured numbers, for `pytest -rP`
    assert not report.broken
    assert report.unclear < 0.1


@pytest.mark.producer
def test_inverted_global_scales_are_turned_the_right_way_up(
    fresh_twins: Mapping[Twin, Path], bench: Bench, tmp_path: Path
) -> None:
    folder = as_compressed_tensors(fresh_twins[MOE], tmp_path / "copy")

    answers = bench.run(folder, random_texts(MOE.vocabulary))

    report = compare(answers, load_reference(folder), BFLOAT16)
    print(report)  # noqa: T201 - the measured numbers, for `pytest -rP`
    assert not report.broken


@pytest.mark.producer
@pytest.mark.parametrize(
    ("fault", "catches"),
    [
        pytest.param(halved_block_scales(""), {"mean", "worst"}, id="all-halved"),
        pytest.param(
            halved_block_scales(".experts."), {"mean", "worst"}, id="experts-halved"
        ),
        pytest.param(
            halved_block_scales("v_proj"), {"mean", "worst"}, id="v-proj-halved"
        ),
        pytest.param(
            halved_block_scales("layers.1.mlp.experts.10."),
            {"worst"},
            id="one-expert-halved",
        ),
        pytest.param(
            global_scale_of_one, {"mean", "worst", "greedy"}, id="global-scale-of-one"
        ),
        pytest.param(
            swapped_nibbles, {"mean", "worst", "greedy"}, id="nibbles-swapped"
        ),
    ],
)
def test_the_bench_catches_wrong_scales(
    fault: Fault,
    catches: set[str],
    fresh_twins: Mapping[Twin, Path],
    bench: Bench,
    tmp_path: Path,
) -> None:
    folder = corrupted(fresh_twins[MOE], tmp_path / "copy", fault)

    answers = bench.run(folder, random_texts(MOE.vocabulary))

    report = compare(answers, load_reference(fresh_twins[MOE]), BFLOAT16)
    print(report)  # noqa: T201 - the measured numbers, for `pytest -rP`
    assert catches <= report.broken


def test_the_example_babbles_in_the_engine_with_halved_block_scales(
    bench: Bench, tmp_path: Path
) -> None:
    canary: dict[str, str] = json.loads((EXAMPLE / "canary.json").read_text())
    folder = corrupted(EXAMPLE, tmp_path / "copy", halved_block_scales(""))

    answers = bench.run(folder, list(canary), max_tokens=8)

    for answer, text in zip(answers, canary.values(), strict=True):
        assert not text.startswith(answer.text)


def test_the_engine_refuses_a_checkpoint_without_global_scales(
    bench: Bench, tmp_path: Path
) -> None:
    folder = corrupted(EXAMPLE, tmp_path / "copy", no_global_scale)

    with pytest.raises(LoadError, match=r"weight_scale_2|weight_global_scale"):
        bench.run(folder, [(1, 2, 3)])
