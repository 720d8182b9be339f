"""YAML that we write, as two other readers take it."""

import random
from typing import Any

import pytest
import yaml

from nvfp4_serve.recipe.yaml_files import parse_yaml
from nvfp4_serve.recipe.yaml_foreign import parse_foreign
from nvfp4_serve.recipe.yaml_text import Block, Inside, render_yaml

WORDS = [
    "", "a", "yes", "No", "on", "null", "~", "true", "1", "1.0", "0x1", "1:2", "-",
    "- a", "a: b", "a:", "#", "a #b", "'", '"', "\\", "\n", "a\n", "\ta", " a ", "é",
    "\u2028", "\x7f", "\x1b", "\ufeff", "=", "<<", "*a", "&a", "!a", "{", "}", "[",
    "%", "@", "`", "2026-01-01", "a" * 200, "\U0001f600", "--a", "?", "? a", "y", "n",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_every_reader_takes_a_word_for_itself(word: str) -> None:
    data = {"a": word, "b": [word, {"c": word}], "d": Inside(e=word), "f": Block(word)}

    text = render_yaml(data)

    assert yaml.safe_load(text) == data
    assert parse_foreign(text, "x").data == data
    assert parse_yaml(text.encode(), "x").data == data


@pytest.mark.parametrize("word", [w for w in WORDS if w])
def test_every_reader_takes_a_key_for_itself(word: str) -> None:
    text = render_yaml({word: Inside({word: 1}), "z": {word: None}})

    assert yaml.safe_load(text) == {word: {word: 1}, "z": {word: None}}


@pytest.mark.parametrize("seed", range(60))
def test_every_reader_takes_nested_data_for_itself(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same data every time

    def value(depth: int) -> Any:
        kind = dice.randrange(9 if depth else 4)
        if kind == 0:
            return dice.choice([True, False, None, 0, -3, 2.5, 10**12])
        if kind < 4:
            return dice.choice(WORDS)
        if kind < 6:
            return [value(depth - 1) for _ in range(dice.randrange(4))]
        made = {f"k{n}": value(depth - 1) for n in range(dice.randrange(4))}
        return Inside(made) if kind == 6 else made

    data = {"top": value(4), "more": [value(3), value(3)]}

    text = render_yaml(data)

    assert yaml.safe_load(text) == data
    assert parse_yaml(text.encode(), "x").data == data


def test_a_block_keeps_its_lines() -> None:
    text = render_yaml({"command": Block("vllm serve \\\n  --x 1\n\n# two\n")})

    assert text == "command: |\n  vllm serve \\\n    --x 1\n\n  # two\n"
    assert yaml.safe_load(text)["command"] == "vllm serve \\\n  --x 1\n\n# two\n"
