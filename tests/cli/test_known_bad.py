import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import KnownBadError, UsageError
from nvfp4_serve.recipe.known_bad import load_known_bad

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "examples/sonnet-18-nvfp4"
GB10 = TOP / "tests/data/hosts/gb10.json"


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(
        commands, [*map(str, words)], catch_exceptions=False, standalone_mode=False
    )
    return done.stdout


def asleep(*words: str) -> str:
    return run(
        "plan", EXAMPLE, "--facts", GB10, *words,
        "--", "--enable-sleep-mode",
    )  # fmt: skip


def test_the_list_says_of_each_row_where_it_holds_who_saw_it_and_what_to_do() -> None:
    text = run("known-bad")

    for row in load_known_bad():
        assert f"{row.id}  ({row.kind}, {row.severity})\n  when " in text
        assert row.symptom in text
        assert row.source in text
        assert row.instead in text


def test_the_list_is_there_for_programs() -> None:
    rows = json.loads(run("known-bad", "--json"))

    assert [row["id"] for row in rows] == [row.id for row in load_known_bad()]
    (mig,) = (row for row in rows if row["id"] == "mig-parent")
    assert mig["when"]["env"] == {"CUDA_VISIBLE_DEVICES": "MIG-*"}


def test_a_plan_that_is_known_not_to_work_ends_with_a_code_of_its_own() -> None:
    with pytest.raises(KnownBadError) as caught:
        asleep()

    assert caught.value.exit_code == 41


def test_a_plan_goes_on_where_it_is_allowed_and_says_so() -> None:
    text = asleep("--allow-known-bad", "sleep-mode-gb10")

    assert "known bad: sleep-mode-gb10" in text
    assert "warning: " in text


def test_what_is_not_in_the_list_cannot_be_allowed() -> None:
    with pytest.raises(UsageError, match="did you mean `sleep-mode-gb10`"):
        asleep("--allow-known-bad", "sleep-mode-gb11")
