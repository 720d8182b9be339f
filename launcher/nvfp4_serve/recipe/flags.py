"""The flags that an engine takes, from ``recipes/flags/``: its own parser's words."""

import msgspec

from nvfp4_serve.resources import VLLM_VERSION, data_folder


class _Flag(msgspec.Struct, frozen=True):
    name: str
    aliases: tuple[str, ...]


class _Flags(msgspec.Struct, frozen=True):
    vllm: str
    flags: tuple[_Flag, ...]


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
