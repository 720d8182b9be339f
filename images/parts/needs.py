"""What a distribution asks for, held against what is installed."""

from __future__ import annotations

import importlib.metadata

# vLLM needs it, so every engine has it.
from packaging.requirements import Requirement


def unmet(name: str, *, without: frozenset[str] = frozenset()) -> list[str]:
    """Return what ``name`` asks for and does not find, a line each.

    Args:
        name: A distribution that is installed.
        without: What it may go without.
    """
    wrong = []
    for line in importlib.metadata.requires(name) or ():
        wanted = Requirement(line)
        if wanted.name in without or not _applies(wanted):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{line}: not there")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{line}: {found} is there")
    return wrong


def _applies(wanted: Requirement) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": ""})
