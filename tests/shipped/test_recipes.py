"""The recipes that we ship: right in every word, and quickly judged."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from engines import engine_python
from nvfp4_serve.host import read_facts
from nvfp4_serve.plan.recipes import check_recipe
from nvfp4_serve.recipe.environment import read_variables
from nvfp4_serve.recipe.flags import read_flags, read_spellings
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.lint import lint_file, lint_machines
from nvfp4_serve.recipe.load import load_recipes, read_recipe_file, recipe_files
from nvfp4_serve.recipe.types import Arg, Recipe, Status, Variable

HOSTS = {
    path.stem: read_facts(path)
    for path in sorted((Path(__file__).parents[1] / "data/hosts").glob("*.json"))
}
FILES = recipe_files()
RECIPES = load_recipes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_word_of_a_recipe_is_one_that_the_engine_knows(path: Path) -> None:
    read = read_recipe_file(path)

    assert list(lint_file(read.file, read_flags(), read_variables())) == []
    for recipe in read.recipes:
        check_recipe(recipe, read_spellings(), read_variables())


def test_each_recipe_is_for_some_machine_and_none_for_every_one() -> None:
    assert [(recipe.id, text) for recipe, text in lint_machines(RECIPES, HOSTS)] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)
def test_nothing_is_called_verified_that_nobody_ran(recipe: Recipe) -> None:
    # No GPU was at hand; this test goes with the first evidence file.
    assert recipe.status in {Status.PORTED, Status.IMPORTED}
    assert recipe.evidence == ()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)
def test_a_reason_is_a_sentence_and_a_source_is_no_guess(recipe: Recipe) -> None:
    rows: list[Arg | Variable] = [*recipe.args.values(), *recipe.env.values()]
    for row in rows:
        assert re.search(r"\w.*\.$", row.why, re.DOTALL), row.why
        assert not re.search(r"\b(unknown|todo|tbd|\?\?)\b", row.source, re.IGNORECASE)


def test_all_recipes_are_judged_on_all_machines_within_two_seconds() -> None:
    begun = time.monotonic()

    recipes = load_recipes()
    verdicts = [judge(recipes, None, host) for host in HOSTS.values()]

    assert time.monotonic() - begun < 2
    assert sum(map(len, verdicts)) == len(RECIPES) * len(HOSTS)


#: Run by the engine's Python: prints what its parser, and the config of speculative
#: decoding, would not take.
_PARSE = """
import json, sys
from dataclasses import fields
from vllm.config import SpeculativeConfig
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
known = {field.name for field in fields(SpeculativeConfig)}
for name, words in json.load(open(sys.argv[1])).items():
    try:
        given = parser.parse_args(["--model", "m", *words]).speculative_config or {}
    except SystemExit:
        print(name, "parser")
    else:
        for key in set(given) - known:
            print(name, key)
"""


def parsed(words: dict[str, tuple[str, ...]], folder: Path) -> list[str]:
    """Return what the engine's own parser does not take."""
    (folder / "parse.py").write_text(_PARSE)
    (folder / "words.json").write_text(json.dumps(words))
    done = subprocess.run(
        [str(engine_python()), "parse.py", "words.json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return done.stdout.splitlines()


@pytest.mark.engine
def test_the_engines_own_parser_takes_the_words_of_every_recipe(tmp_path: Path) -> None:
    wrong = {
        "flag": ("--lod-format", "auto"),
        "object": ("--compilation-config", '{"modus": 3}'),
        "draft": ("--speculative-config", '{"method": "mtp", "tokens": 1}'),
    }

    said = parsed({recipe.id: recipe.words for recipe in RECIPES} | wrong, tmp_path)

    assert said == ["flag parser", "object parser", "draft tokens"]
