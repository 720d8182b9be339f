"""The flags that an engine takes, from ``recipes/flags/``: its own parser's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from nvfp4_serve.resources import VLLM_VERSION, data_folder


class Flag(msgspec.Struct, frozen=True):
    """One flag of `vllm serve`, as its parser describes it.

    Attributes:
        choices: The values that the parser takes, or None: it does not say.
    """

    name: str
    aliases: tuple[str, ...]
    takes_value: Literal["no", "one", "many", "optional"]
    choices: tuple[str, ...] | None = None


class _Flags(msgspec.Struct, frozen=True):
    vllm: str
    flags: tuple[Flag, ...]


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


def read_flags(version: str = VLLM_VERSION) -> Flags:
    """Return every flag of `vllm serve` of ``version``.

    Raises:
        FileNotFoundError: Nobody generated the flags of that version.
    """
    path = data_folder("recipes") / "flags" / f"vllm-{version}.json"
    known = msgspec.json.decode(path.read_bytes(), type=_Flags)
    return Flags(
        version=known.vllm,
        spellings=read_spellings(version),
        by_name={flag.name: flag for flag in known.flags},
    )


def read_spellings(version: str = VLLM_VERSION) -> dict[str, str]:
    """Return every spelling of every flag of `vllm serve`, and the flag's name.

    ``--x`` and ``-x`` and ``--no-x`` lead to ``--x``.

    Raises:
        FileNotFoundError: Nobody generated the flags of that version.
    """
    path = data_folder("recipes") / "flags" / f"vllm-{version}.json"
    known = msgspec.json.decode(path.read_bytes(), type=_Flags)
    return {
        spelling: flag.name
        for flag in known.flags
        for spelling in (flag.name, *flag.aliases)
    }
