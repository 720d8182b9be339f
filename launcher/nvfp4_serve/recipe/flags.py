"""The flags that an engine takes, from ``recipes/flags/``: its own parser's words."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from nvfp4_serve.resources import VLLM_VERSION, data_folder


class Flag(msgspec.Struct, frozen=True):
    """A flag of `vllm serve`.

    Attributes:
        name: ``--x``.
        aliases: Its other spellings, ``--no-x`` among them where there is one.
        takes_value: How many words follow it.
        choices: What may follow it, where that is a closed list.
    """

    name: str
    aliases: tuple[str, ...]
    takes_value: Literal["no", "one", "many", "optional"]
    choices: tuple[str, ...] = ()


class _Flags(msgspec.Struct, frozen=True):
    vllm: str
    flags: tuple[Flag, ...]


#: Of these vLLM takes any case, and ``-`` for ``_``; of others only what is written.
#: vLLM 0.32.0, engine/arg_utils.py, ``add_cli_args``.
_LENIENT: Final = frozenset(
    {"--moe-backend", "--linear-backend", "--sparse-indexer-topk-backend"}
)


def as_vllm_reads(name: str, text: str) -> str:
    """Return a value of the flag ``name`` as vLLM's parser reads it."""
    return text.lower().replace("-", "_") if name in _LENIENT else text


def read_flags(version: str = VLLM_VERSION) -> dict[str, Flag]:
    """Return every flag of `vllm serve`, by its name.

    Raises:
        FileNotFoundError: Nobody generated the flags of that version.
    """
    path = data_folder("recipes") / "flags" / f"vllm-{version}.json"
    known = msgspec.json.decode(path.read_bytes(), type=_Flags)
    return {flag.name: flag for flag in known.flags}


def read_spellings(version: str = VLLM_VERSION) -> dict[str, str]:
    """Return every spelling of every flag of `vllm serve`, and the flag's name.

    ``--x`` and ``-x`` and ``--no-x`` lead to ``--x``.

    Raises:
        FileNotFoundError: Nobody generated the flags of that version.
    """
    return spellings_of(read_flags(version))


def spellings_of(flags: Mapping[str, Flag]) -> dict[str, str]:
    """Return every spelling of ``flags``, and the flag's name."""
    return {
        spelling: flag.name
        for flag in flags.values()
        for spelling in (flag.name, *flag.aliases)
    }
