"""Everything that our data files know, read once and handed to the plan as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.recipe.types import Recipe


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the data files say.

    Attributes:
        spellings: Every spelling that vLLM's parser takes, to the flag's name.
        recipes: Those that may be for the checkpoint at hand, or all.
    """

    spellings: Mapping[str, str]
    recipes: tuple[Recipe, ...]


def load_knowledge(recipes: tuple[Recipe, ...] | None = None) -> Knowledge:
    """Return what our data files say.

    Args:
        recipes: Those that were loaded already; None: load every one.

    Raises:
        FileNotFoundError: The installation is broken.
        RecipeError: A recipe is wrong.
    """
    return Knowledge(
        spellings=read_spellings(),
        recipes=load_recipes() if recipes is None else recipes,
    )
