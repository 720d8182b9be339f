"""Everything that our data files know, read once and handed to the plan as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from nvfp4_serve.recipe.backend_rules import BackendRules, read_rules
from nvfp4_serve.recipe.environment import Variables, read_variables
from nvfp4_serve.recipe.flags import Flag, read_flags, spellings_of
from nvfp4_serve.recipe.known_bad import KnownBad, load_known_bad
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.recipe.stock import Stock, read_stock
from nvfp4_serve.recipe.types import Recipe


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the data files say.

    Attributes:
        spellings: Every spelling that vLLM's parser takes, to the flag's name.
        flags: What the parser says of each flag, by its name.
        rules: Which kernels for which situation.
        auto: What stock vLLM would choose and allow.
        variables: The environment variables that vLLM reads, and the dead ones.
        recipes: Those that may be for the checkpoint at hand, or all.
        known_bad: What is known not to work.
    """

    spellings: Mapping[str, str]
    flags: Mapping[str, Flag]
    rules: BackendRules
    auto: Stock
    variables: Variables
    recipes: tuple[Recipe, ...]
    known_bad: tuple[KnownBad, ...]


def load_knowledge(recipes: tuple[Recipe, ...] | None = None) -> Knowledge:
    """Return what our data files say.

    Args:
        recipes: Those that were loaded already; None: load every one.

    Raises:
        FileNotFoundError: The installation is broken.
        RecipeError: A recipe or another of these files is wrong.
    """
    flags = read_flags()
    return Knowledge(
        spellings=spellings_of(flags),
        flags=flags,
        rules=read_rules(),
        auto=read_stock(),
        variables=read_variables(),
        recipes=load_recipes() if recipes is None else recipes,
        known_bad=load_known_bad(),
    )
