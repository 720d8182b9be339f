"""The recipes and the known-bad list that we ship do not contradict each other."""

from pathlib import Path

import pytest

from layouts import layout
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.plan.case import Case, read_flags
from nvfp4_serve.plan.known_bad import holding
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.known_bad import SHIPPED, load_known_bad
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.recipe.types import Verdict

HOSTS = sorted((Path(__file__).parents[1] / "data" / "hosts").glob("*.json"))
RECIPES = load_recipes()
REFUSING = [row for row in load_known_bad() if row.severity == "refuse"]
SPELLINGS = read_spellings()


def case(verdict: Verdict, host: Host) -> Case:
    recipe = verdict.recipe
    return Case(
        layout=layout(
            model=recipe.model_id,
            folder=None,
            layout=next(iter(recipe.expect.layouts), "not said"),
            architecture=recipe.expect.architecture,
            schemes=dict(recipe.expect.schemes),
        ),
        host=host,
        gpus=verdict.gpus,
        flags=read_flags(recipe.words, SPELLINGS),
        env={name: variable.value for name, variable in recipe.env.items()},
        versions=SHIPPED,
    )


@pytest.mark.parametrize("file", HOSTS, ids=lambda file: str(file.stem))
def test_no_recipe_is_refused_on_a_machine_that_it_is_for(file: Path) -> None:
    host = read_facts(file)
    fitting = [v for v in judge(RECIPES, None, host, nodes=1) if v.fits]

    refused = {v.recipe.id: holding(REFUSING, case(v, host)) for v in fitting}

    assert {recipe: rows for recipe, rows in refused.items() if rows} == {}
