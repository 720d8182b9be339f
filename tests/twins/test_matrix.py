"""The matrix of layouts again, held against what is committed."""

import json
import subprocess
import sys
from typing import Any

import pytest

from twins.environments import ROOT
from twins.matrix import RESULTS, Trees, run
from twins.rows import ROWS

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

    assert row["ours"]["verdict"] != "wrong answers"
    assert row["ours engine"]["verdict"] != "wrong answers"


@pytest.mark.parametrize("name", _COMMITTED)
def test_a_layout_is_called_by_its_id(name: str) -> None:
    assert _COMMITTED[name]["recognised"] == _COMMITTED[name]["layout"]


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
