"""The flags of the pinned vLLM, as the importer looks them up."""

from collections.abc import Mapping
from dataclasses import dataclass

from nvfp4_serve.recipe.flags import Flag, read_flags, spellings_of
from nvfp4_serve.resources import VLLM_VERSION


@dataclass(frozen=True, slots=True)
class Flags:
    """Every flag of one version.

    Attributes:
        spellings: Every spelling of every flag, to the flag's name.
        by_name: The flags by their names.
    """

    version: str
    spellings: Mapping[str, str]
    by_name: Mapping[str, Flag]

    def find(self, spelling: str) -> Flag | None:
        """Return the flag that is spelt so, or None: there is none."""
        name = self.spellings.get(spelling)
        return None if name is None else self.by_name[name]


def pinned_flags() -> Flags:
    """Return the flags of the vLLM that the plans are for.

    Raises:
        FileNotFoundError: The installation is broken.
    """
    flags = read_flags()
    return Flags(VLLM_VERSION, spellings_of(flags), flags)
