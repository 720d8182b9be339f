"""Everything that our data files know, read once and handed to the plan as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from nvfp4_serve.recipe.flags import read_spellings


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the data files say.

    Attributes:
        spellings: Every spelling that vLLM's parser takes, to the flag's name.
    """

    spellings: Mapping[str, str]


def load_knowledge() -> Knowledge:
    """Return what our data files say.

    Raises:
        FileNotFoundError: The installation is broken.
    """
    return Knowledge(spellings=read_spellings())
