"""Everything that our data files know, read once and handed to the plan as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from nvfp4_serve.recipe.backend_rules import BackendRules, read_rules
from nvfp4_serve.recipe.environment import Variables, read_variables
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.stock import Stock, read_stock


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the data files say.

    Attributes:
        spellings: Every spelling that vLLM's parser takes, to the flag's name.
        rules: Which kernels for which situation.
        auto: What stock vLLM would choose and allow.
        variables: The environment variables that vLLM reads, and the dead ones.
    """

    spellings: Mapping[str, str]
    rules: BackendRules
    auto: Stock
    variables: Variables


def load_knowledge() -> Knowledge:
    """Return what our data files say.

    Raises:
        FileNotFoundError: The installation is broken.
        RecipeError: So it is.
    """
    return Knowledge(
        spellings=read_spellings(),
        rules=read_rules(),
        auto=read_stock(),
        variables=read_variables(),
    )
