"""YAML of other people: what it says, where, and where it ends."""

import pytest
import yaml

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.yaml_foreign import parse_foreign


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [x, 2.5, yes, null, ~]\nc: {d: 'e'}\n",
        "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {b: 4, <<: [*x, {c: 5}]}\n",
        "a: |\n  one\n   two\n\nb: >\n  one\n  two\n",
        "a: 0.80\nb: 1_000\nc: 0x1F\nd: '010'\n",
        "? a\n: b\n",
        "a: {b: on, c: Off, d: No, e: y}\n",
    ],
)
def test_says_what_pyyaml_says(text: str) -> None:
    assert parse_foreign(text, "x").data == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: 2026-11-21", "a: 12:30:15", "a: 010", "a: .inf"])
def test_keeps_what_nobody_meant_as_it_is_written(text: str) -> None:
    assert parse_foreign(text, "x").data == {"a": text.partition(": ")[2]}


def test_knows_the_line_of_every_value() -> None:
    found = parse_foreign("a: 1\nb:\n  - x\n  - y: 2\nc: |\n\n  text\n", "x")

    assert found.line("a") == 1
    assert found.line("b", 1, "y") == 4
    assert found.line("c") == 6
    assert found.line("b", 1, "missing") == 4
    assert found.line("missing") == 1


def test_a_key_that_stands_twice_is_told() -> None:
    found = parse_foreign("a: 1\nb: {c: 1, c: 2}\na: 3\n", "x")

    assert found.data == {"a": 3, "b": {"c": 2}}
    assert found.twice == [(("b", "c"), 2), (("a",), 3)]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "&a {b: *a}",
        "[" * 100 + "]" * 100,
        "a: " + "{b: " * 60 + "}" * 60,
        # These ended the process: libyaml's composer has no bound of its own.
        pytest.param("a: " + "[" * 400_000, id="deep-list"),
        pytest.param("- " * 400_000, id="deep-lines"),
    ],
)
def test_what_has_no_end_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"nested deeper|no YAML"):
        parse_foreign(text, "x")


def test_a_tag_makes_nothing() -> None:
    found = parse_foreign("a: !!python/object/apply:os.getcwd []", "x")

    assert found.data == {"a": []}
