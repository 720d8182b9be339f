"""The recipes, the known-bad list and the rules that we ship are of one mind."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from layouts import layout
from nvfp4_serve.checkpoint.types import Experts, Layout
from nvfp4_serve.errors import ServeError
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.plan import Request, make_plan
from nvfp4_serve.plan.case import Case, read_flags
from nvfp4_serve.plan.known_bad import holding
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.recipe.known_bad import (
    SHIPPED,
    Conditions,
    KnownBad,
    load_known_bad,
    words,
)
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.recipe.types import Recipe, Verdict
from nvfp4_serve.units import GIB

HOSTS = sorted((Path(__file__).parents[1] / "data" / "hosts").glob("*.json"))
RECIPES = load_recipes()
ROWS = {row.id: row for row in load_known_bad()}
REFUSING = [row for row in ROWS.values() if row.severity == "refuse"]
SPELLINGS = read_spellings()
KNOWLEDGE = replace(load_knowledge(()), recipes=RECIPES)
EXPERTS = Experts(
    count=128,
    per_token=8,
    intermediate=768,
    activation="silu",
    gated=True,
    swiglu_limit=None,
)
#: What the modules of a layout may be, where they are not said.
SCHEMES = {"attention": "BF16", "routed_experts": "NVFP4"}
NATIVE = {"attention": "FP8_BLOCK", "routed_experts": "NVFP4", "mtp": "MXFP4"}


def checkpoints(recipe: Recipe) -> Iterator[Layout]:
    """Yield, small, every checkpoint that the recipe expects."""
    expect = recipe.expect
    for kind in expect.layouts or ("unknown",):
        for architecture in expect.architectures or ("Unknown",):
            yield layout(
                model=recipe.model_id,
                folder=None,
                revision=recipe.revision or "0" * 40,
                layout=kind,
                architecture=architecture,
                schemes=NATIVE if kind == "deepseek-v4" else SCHEMES,
                experts=EXPERTS,
                weight_bytes=2 * GIB,
                parts=(),
            )


def case(verdict: Verdict, host: Host, checkpoint: Layout, nodes: int) -> Case:
    recipe = verdict.recipe
    return Case(
        layout=checkpoint,
        host=host,
        gpus=verdict.gpus,
        flags=read_flags(recipe.words, SPELLINGS),
        env={name: variable.value for name, variable in recipe.env.items()},
        versions=SHIPPED,
        nodes=nodes,
    )


@pytest.mark.parametrize("nodes", [1, 2, 4, 8])
@pytest.mark.parametrize("file", HOSTS, ids=lambda file: str(file.stem))
def test_no_recipe_is_refused_on_a_machine_that_it_is_for(
    file: Path, nodes: int
) -> None:
    host = read_facts(file)
    fitting = [v for v in judge(RECIPES, None, host, nodes=nodes) if v.fits]

    refused = {
        (v.recipe.id, row.id)
        for v in fitting
        for checkpoint in checkpoints(v.recipe)
        for row in holding(REFUSING, case(v, host, checkpoint, nodes))
    }

    assert refused == set()


def said_against(recipe: Recipe, host: Host) -> Iterator[str]:
    """Yield what a plan by a recipe says against the recipe's own words."""
    request = Request(recipe=recipe.id)
    for checkpoint in checkpoints(recipe):
        try:
            made = make_plan(checkpoint, host, request, KNOWLEDGE)
        except ServeError as error:
            yield error.problem
            continue
        for finding in made.findings:
            row = ROWS.get(finding.id.removeprefix("known-bad:"))
            if row is not None and row.when.flags:
                yield row.id


@pytest.mark.slow
@pytest.mark.parametrize("file", HOSTS, ids=lambda file: str(file.stem))
def test_the_rules_take_the_words_of_every_recipe_and_the_list_has_nothing_against_them(
    file: Path,
) -> None:
    host = read_facts(file)
    fitting = [v.recipe for v in judge(RECIPES, None, host) if v.fits]

    against = {recipe.id: {*said_against(recipe, host)} for recipe in fitting}

    assert {recipe: said for recipe, said in against.items() if said} == {}


def of_whole_checkpoints() -> dict[str, KnownBad]:
    """Return, by the model's id, the rows that hold wherever it is served."""
    return {
        model: row
        for row in ROWS.values()
        if row.when == Conditions(model=row.when.model)
        for model in words(row.when.model)
    }


@pytest.mark.parametrize("model", of_whole_checkpoints())
def test_a_recipe_of_a_bad_checkpoint_leaves_the_word_to_the_list(model: str) -> None:
    row = of_whole_checkpoints()[model]

    for recipe in (recipe for recipe in RECIPES if recipe.model_id == model):
        named = re.findall(r"row `([^`]+)`", recipe.blocked or "")
        assert named == ([row.id] if row.severity == "refuse" else []), recipe.id
        assert recipe.blocked or row.severity == "warn", recipe.id


def test_a_recipe_names_no_row_that_is_not_there() -> None:
    named = [
        (recipe.model_id, name)
        for recipe in RECIPES
        for name in re.findall(r"row `([^`]+)`", recipe.blocked or "")
    ]

    assert named == [("LibertAIDAI/GLM-5.3-Flash-NVFP4", "glm-5.3-flash-libertaidai")]
    for model, name in named:
        assert model in words(ROWS[name].when.model)
