"""The matrix of layouts again, held against what is committed."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twins.bench import EngineAnswer
from twins.environments import ROOT
from twins.exports import make_exports
from twins.matrix import RESULTS, Trees, furthest, run
from twins.plain import Tensors, make_plain, rearranged
from twins.rows import ROWS
from twins.specimens_of_layouts import QWEN3_MOE

_COMMITTED: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())


@pytest.fixture(scope="module")
def found(
    both_trees: Trees, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    return run(ROWS, both_trees, tmp_path_factory.mktemp("matrix"))


def test_the_committed_matrix_has_every_row() -> None:
    assert list(_COMMITTED) == sorted(row.name for row in ROWS)


def test_the_page_says_what_the_committed_matrix_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_layouts.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", _COMMITTED)
def test_ours_never_answers_wrongly(name: str) -> None:
    row = _COMMITTED[name]
    verdicts = {row[tree]["verdict"] for tree in ("ours", "ours engine") if tree in row}

    assert "wrong answers" not in verdicts


@pytest.mark.parametrize("name", _COMMITTED)
def test_a_layout_is_called_by_its_id(name: str) -> None:
    row = _COMMITTED[name]

    assert "not made" in row or row["recognised"] == row["layout"]


def test_no_answer_is_a_wrong_answer() -> None:
    right = EngineAnswer((1, 2), (3,), "", ({3: -1.0},), ({2: -2.0},))
    other = EngineAnswer((1, 2), (3,), "", ({3: -1.0},), ({2: -2.5},))
    broken = EngineAnswer((1, 2), (3,), "", ({3: -1.0},), ({2: math.nan},))

    assert furthest([right], [right]) == 0.0
    assert furthest([other], [right]) == 0.5
    assert math.isnan(furthest([broken], [right]))


@pytest.mark.engine
@pytest.mark.producer
def test_the_judge_notices_one_block_scale_of_one_expert(
    both_trees: Trees, tmp_path: Path
) -> None:
    def halve_one(tensors: Tensors) -> Tensors:
        name = "model.layers.0.mlp.experts.10.down_proj.weight_scale"
        dtype, shape, data = tensors[name]
        # One step of the exponent, of the first row.
        row = bytes(code - 8 if code >= 8 else code for code in data[: shape[1]])
        return {**tensors, name: (dtype, shape, row + data[shape[1] :])}

    make_exports((QWEN3_MOE,))
    rearranged(QWEN3_MOE.folder, tmp_path / "fault", halve_one)
    make_plain(QWEN3_MOE.folder, tmp_path / "plain")
    ours = both_trees["ours"]

    answers = ours.ask(tmp_path / "fault", {})

    assert furthest(answers, ours.ask(tmp_path / "plain", {})) > 0


@pytest.mark.engine
@pytest.mark.producer
@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_a_checkpoint_is_still_judged_so(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    # How wrong a wrong answer is depends on what was in memory before.
    wrong = {"verdict": "wrong answers"}
    pairs = [
        {
            key: {**value, **wrong, "words": ""}
            if isinstance(value, dict) and value["verdict"] == "wrong answers"
            else value
            for key, value in row.items()
        }
        for row in (found[name], _COMMITTED[name])
    ]

    assert pairs[0] == pairs[1]
