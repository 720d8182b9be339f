"""Many names that differ in their numbers only, as one pattern, both ways. Pure.

``layers.{0-60}.ffn.experts.{0-383}.w1`` stands for 23,424 names. A number is a whole
part between dots, without a leading zero; a brace of the name's own is doubled.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")
#: A doubled brace, numbers in braces, or text without any.
_TOKEN: Final = re.compile(
    r"(?P<brace>\{\{|\}\})|\{(?P<numbers>[^{}]*)\}|(?P<text>[^{}]+)"
)
_RANGE: Final = re.compile(rf"({_NUMBER.pattern})(?:-({_NUMBER.pattern}))?")

#: More numbers than any model has of anything; a file that says more is not right.
_MOST: Final = 1_000_000

_Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Numbered:
    """Names of one shape.

    Attributes:
        texts: What stands between the numbers; one more than there are numbers.
        slots: The numbers that may stand at each place, ascending.
    """

    texts: tuple[str, ...]
    slots: tuple[_Numbers, ...]

    @property
    def count(self) -> int:
        """How many names these are."""
        return math.prod(map(len, self.slots))

    def names(self) -> Iterator[str]:
        """Yield every name, the last number fastest."""
        for chosen in itertools.product(*self.slots):
            yield self.name(chosen)

    def name(self, chosen: Iterable[object]) -> str:
        """Return the name with these at the places of the numbers."""
        texts = iter(self.texts)
        return next(texts) + "".join(
            f"{number}{text}" for number, text in zip(chosen, texts, strict=True)
        )


def fold_names(names: Iterable[str]) -> list[str]:
    """Return patterns that stand for exactly ``names``, in a fixed order."""
    shapes: defaultdict[tuple[str | None, ...], set[_Numbers]] = defaultdict(set)
    for name in names:
        parts = name.split(".")
        numbers = tuple(int(part) for part in parts if _NUMBER.fullmatch(part))
        shape = tuple(None if _NUMBER.fullmatch(part) else part for part in parts)
        shapes[shape].add(numbers)
    return sorted(
        _pattern(shape, slots)
        for shape, found in shapes.items()
        for slots in _products(found)
    )


def parse_names(pattern: str) -> Numbered:
    """Return the names that ``pattern`` stands for.

    Raises:
        ValueError: It is no pattern; says what is wrong.
    """
    texts, slots, end = [""], [], 0
    for token in _TOKEN.finditer(pattern):
        if token.start() != end:
            break
        end = token.end()
        if token["numbers"] is not None:
            slots.append(_numbers(token["numbers"]))
            texts.append("")
        else:
            texts[-1] += token["brace"][0] if token["brace"] else token["text"]
    if end != len(pattern):
        raise ValueError(f"`{pattern}` has a brace that stands alone")
    return Numbered(tuple(texts), tuple(slots))


def _products(found: Iterable[_Numbers]) -> list[tuple[_Numbers, ...]]:
    """Return products of number lists that make up exactly ``found``."""
    rests: defaultdict[int, list[_Numbers]] = defaultdict(list)
    for numbers in found:
        if not numbers:
            return [()]
        rests[numbers[0]].append(numbers[1:])
    alike: defaultdict[tuple[tuple[_Numbers, ...], ...], list[int]] = defaultdict(list)
    for first, rest in rests.items():
        alike[tuple(_products(rest))].append(first)
    return [
        (tuple(sorted(firsts)), *rest)
        for folded, firsts in alike.items()
        for rest in folded
    ]


def _pattern(shape: tuple[str | None, ...], slots: tuple[_Numbers, ...]) -> str:
    numbers = iter(slots)
    return ".".join(
        _slot(next(numbers))
        if part is None
        else part.replace("{", "{{").replace("}", "}}")
        for part in shape
    )


def _slot(numbers: _Numbers) -> str:
    """Return ``{0-2,5}``; one number stands without braces."""
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return "{" + ",".join("-".join(map(str, run)) for run in runs) + "}"


def _numbers(text: str) -> _Numbers:
    """Return the numbers of ``0-2,5``; they must ascend."""
    numbers: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        first = int(found[1]) if found else 0
        last = int(found[2] or found[1]) if found else -1
        if last < first or (numbers and first <= numbers[-1]):
            raise ValueError(f"`{{{text}}}` is no list of ascending numbers")
        if last - first >= _MOST:
            raise ValueError(f"`{{{text}}}` has more than {_MOST:,} numbers")
        numbers += range(first, last + 1)
    return tuple(numbers)
