"""Everything that our data files know, read once and handed to the plan as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.known_bad import KnownBad, load_known_bad


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the data files say.

    Attributes:
        spellings: Every spelling that vLLM's parser takes, to the flag's name.
        known_bad: What is known not to work.
    """

    spellings: Mapping[str, str]
    known_bad: tuple[KnownBad, ...]


def load_knowledge() -> Knowledge:
    """Return what our data files say.

    Raises:
        FileNotFoundError: The installation is broken.
        RecipeError: One of them is wrong.
    """
    return Knowledge(spellings=read_spellings(), known_bad=load_known_bad())
