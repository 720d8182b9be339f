"""Environment variables that vLLM reads no more, or never did."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import msgspec

from nvfp4_serve.resources import VLLM_VERSION, data_folder

#: What Kubernetes gives every pod beside a service that is called ``vllm``, and
#: variables of other programs that share the beginning.
NOT_VLLMS: Final = re.compile(
    r"VLLM_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP)\w*)"
)


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that some vLLM read once, or that only a fork reads.

    Attributes:
        instead: What does it now.
        source: How that is known.
    """

    name: str
    instead: str
    source: str


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables of one vLLM.

    Attributes:
        vllm: The version.
        known: Those that it reads.
        removed: Those of which it is known what became of them.
    """

    vllm: str
    known: frozenset[str]
    removed: Mapping[str, Removed]


class _Known(msgspec.Struct, frozen=True):
    vllm: str
    names: tuple[str, ...]


class _Dead(msgspec.Struct, frozen=True):
    removed: tuple[Removed, ...]


@cache
def read_variables(version: str = VLLM_VERSION) -> Variables:
    """Return the variables that a vLLM reads, and those that it reads no more.

    Raises:
        FileNotFoundError: Nobody generated the list of that version.
    """
    folder = data_folder("recipes") / "flags"
    known = msgspec.json.decode(
        (folder / f"env-vllm-{version}.json").read_bytes(), type=_Known
    )
    dead = msgspec.json.decode((folder / "env-removed.json").read_bytes(), type=_Dead)
    return Variables(
        vllm=known.vllm,
        known=frozenset(known.names),
        removed={one.name: one for one in dead.removed},
    )


def check_environment(
    pairs: Iterable[tuple[str, str]], variables: Variables | None = None
) -> tuple[str, ...]:
    """Return what is wrong with variables for vLLM: a sentence for each dead one.

    vLLM warns in one line of its log, and serves without what was asked for. Names
    that do not begin with ``VLLM_`` are not judged.
    """
    variables = variables or read_variables()
    return tuple(
        _fault(name, variables)
        for name, _ in pairs
        if name.startswith("VLLM_")
        and name not in variables.known
        and not NOT_VLLMS.fullmatch(name)
    )


def _fault(name: str, variables: Variables) -> str:
    gone = variables.removed.get(name)
    if gone is not None:
        return f"{name}: {gone.instead} ({gone.source})"
    near = difflib.get_close_matches(name, variables.known, n=1, cutoff=0.85)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return f"{name}: vLLM {variables.vllm} reads no such variable{hint}"
