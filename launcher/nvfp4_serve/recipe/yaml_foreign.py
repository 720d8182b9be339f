"""YAML of other people -> data with lines, within bounds. Says no to bombs only.

Their files have anchors, merges and plain words that `yaml_files` refuses in ours. So
every word is what YAML 1.1 takes it for, as PyYAML reads it for their own tools.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from nvfp4_serve.errors import RecipeError

Path_ = tuple[str | int, ...]

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Values, counted once for each alias that repeats them.
_MOST_NODES: Final = 50_000
_DEEPEST: Final = 40
_TAG: Final = "tag:yaml.org,2002:"
_FIX: Final = "Correct the file; nothing of it was read."


@dataclass(slots=True)
class ForeignYaml:
    """What a foreign YAML text says.

    Attributes:
        data: Mappings, lists, texts, numbers, booleans and None.
        lines: The line of every value, by its path; of a block, its first line.
        twice: Keys that stand twice in one mapping, with the line of the second; the
            second counts, as for PyYAML.
    """

    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)
    twice: list[tuple[Path_, int]] = field(default_factory=list)

    def line(self, *path: str | int) -> int:
        """Return the line of ``path``, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse_foreign(text: str, label: str) -> ForeignYaml:
    """Return what ``text`` says.

    Raises:
        RecipeError: It is no YAML, holds two documents, or grows beyond all measure.
    """
    try:
        _check_depth(text, label)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise RecipeError(
            f"{label} is no YAML.",
            evidence=(f"line {line}: {error.problem or error.context}",),
            fix=_FIX,
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{label} is no YAML.", fix=_FIX) from error
    found = ForeignYaml(None)
    if node is not None:
        found.data = _Reader(found, label).value(node, (), 0)
    return found


def _check_depth(text: str, label: str) -> None:
    """Refuse what is nested too deep, without recursion.

    libyaml's composer calls itself for every level, and ends the process where the
    stack does (PyYAML 6.0.3, 400,000 brackets).
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise _too_much(label)


def _too_much(label: str) -> RecipeError:
    return RecipeError(
        f"{label} holds more than {_MOST_NODES:,} values, or is nested deeper than "
        f"{_DEEPEST} levels; its aliases may repeat each other.",
        fix="Give one recipe, written out.",
    )


class _Reader:
    """Makes data of nodes; counts them."""

    def __init__(self, found: ForeignYaml, label: str) -> None:
        self._found = found
        self._label = label
        self._count = 0

    def value(self, node: yaml.Node, path: Path_, depth: int) -> object:
        """Return what a node says."""
        self._count += 1
        if self._count > _MOST_NODES or depth > _DEEPEST:
            raise _too_much(self._label)
        self._found.lines[path] = _line(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(below, (*path, index), depth + 1)
                for index, below in enumerate(node.value)
            ]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path_, depth: int) -> object:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, below in node.value:
            if key.tag == f"{_TAG}merge":
                for source in self._sources(below):
                    value = self.value(source, path, depth + 1)
                    merged = {**value, **merged} if isinstance(value, dict) else merged
                continue
            name = str(key.value)
            if name in own:
                self._found.twice.append(((*path, name), _line(key)))
            own[name] = self.value(below, (*path, name), depth + 1)
        return {**merged, **own}

    def _sources(self, node: yaml.Node) -> Iterator[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        else:
            yield node


def _line(node: yaml.Node) -> int:
    """Return the first line of what a node says; a block begins below its ``|``."""
    below = isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}
    return int(node.start_mark.line) + (2 if below else 1)


def _scalar(node: yaml.Node) -> object:
    """Return what YAML 1.1 takes a word for; dates stay as they are written."""
    text = str(node.value)
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in {"yes", "true", "on"}
    if kind in {"int", "float"}:
        return _number(kind, text)
    return text


def _number(kind: str, text: str) -> int | float | str:
    plain = text.replace("_", "")
    try:
        return int(plain, 0) if kind == "int" else float(plain)
    except ValueError:
        # 010, 1:30 and .inf mean something to YAML 1.1, and to nobody who wrote them.
        return text
