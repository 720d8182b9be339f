"""The recorded answers are those of the installed vLLM's own selection code."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from engines import engine_python
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.stock import read_stock
from selection.make import RECORDED, VARIABLES, table_text, variables_text


@pytest.mark.engine
def test_the_recorded_choices_are_the_engines() -> None:
    assert table_text(engine_python()) == RECORDED.read_text()


@pytest.mark.engine
def test_the_recorded_variables_are_the_engines() -> None:
    assert variables_text(engine_python()) == VARIABLES.read_text()


@pytest.mark.engine
def test_a_gpu_that_is_asked_about_alone_gets_the_same_answers(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    ask = Path(__file__).with_name("ask.py")

    subprocess.run([engine_python(), ask, answers, "121"], check=True, cwd=tmp_path)

    alone = json.loads(answers.read_text())
    recorded = json.loads(RECORDED.read_text())
    for table in ("moe", "mxfp4_moe", "plain_moe", "linear", "attention"):
        mine = [row for row in recorded[table] if 121 in row.pop("capabilities")]
        asked = [
            {key: value for key, value in row.items() if key != "capability"}
            for row in alone[table]
        ]
        assert sorted(map(json.dumps, asked)) == sorted(map(json.dumps, mine)), table


def test_says_what_stood_in_for_the_gpu() -> None:
    told = json.loads(RECORDED.read_text())

    assert "current_platform" in " ".join(told["stands_in"])
    assert any(name.startswith("flashinfer.") for name in told["asked"])


def test_everything_that_may_be_asked_for_is_a_word_of_the_parser() -> None:
    flags = Path(RECORDED.parents[1] / "flags" / RECORDED.name).read_text()
    stock = read_stock()
    words = {
        word
        for cell in (*stock.moe, *stock.mxfp4_moe, *stock.plain_moe, *stock.linear)
        for word in cell.offers
    }

    assert "--moe-backend" in read_spellings()
    assert {word for word in words if not re.search(rf'"{word}"', flags)} == set()
