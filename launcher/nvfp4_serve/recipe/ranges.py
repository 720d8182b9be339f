"""Ranges of versions and numbers, as our data files write them. Pure.

``>=0.25,<0.26`` holds where every part does. Bounds are whole: ``<=0.22`` leaves
``0.22.1`` out, as PEP 440 has it.
"""

import operator
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from nvfp4_serve.units import GIB

_Numbers: TypeAlias = tuple[float, ...]
_TESTS: Final[dict[str, Callable[[_Numbers, _Numbers], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_PART: Final = re.compile(r"(>=|<=|==|>|<)\s*(.+)")
_VERSION: Final = re.compile(r"(\d+(?:\.\d+)*)(?:\.post(\d+))?")
_NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)( GiB)?")
#: Numbers of a version that are compared; what is behind is the post release.
_PLACES: Final = 5


def is_range(text: str) -> bool:
    """Return whether ``text`` is written as a range."""
    return bool(_PART.fullmatch(text))


def version_in(text: str, version: str) -> bool:
    """Return whether ``version`` is in the range ``text``.

    Raises:
        ValueError: The range is none; says which.
    """
    return _holds(text, _version, _version(version))


def number_in(text: str, number: float) -> bool:
    """Return whether ``number`` is in the range ``text``; ``17 GiB`` is a number.

    Raises:
        ValueError: The range is none; says which.
    """
    return _holds(text, _number, (float(number),))


def _holds(text: str, parse: Callable[[str], _Numbers], found: _Numbers) -> bool:
    parts = [_PART.fullmatch(part.strip()) for part in text.split(",")]
    tests = [(part[1], parse(part[2])) for part in parts if part]
    if len(tests) < len(parts):
        raise ValueError(f"`{text}` is no range such as `>=0.25,<0.26`")
    return all(_TESTS[sign](found, bound) for sign, bound in tests)


def _version(text: str) -> _Numbers:
    found = _VERSION.match(text)
    if not found:
        raise ValueError(f"`{text}` is no version")
    numbers = [int(number) for number in found[1].split(".")][:_PLACES]
    return (*numbers, *[0] * (_PLACES - len(numbers)), int(found[2] or 0))


def _number(text: str) -> _Numbers:
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        raise ValueError(f"`{text}` is no number")
    return (float(found[1]) * (GIB if found[2] else 1),)
