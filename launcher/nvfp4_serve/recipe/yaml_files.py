"""YAML -> values, and nothing but what the file plainly says. Reads files of ours.

This is YAML without its surprises: no duplicate keys, no anchors, no tags, no second
document, and no plain word that YAML 1.1 and YAML 1.2 read differently (``no``,
``0o17``, ``12:30``, ``2026-11-21``). Every fault of a file is reported at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.plain_words import fault_of_plain, value_of_plain
from nvfp4_serve.recipe.strict import Path_, faults_of, text_of

T = TypeVar("T")

#: Bytes. The largest of our files has some tens of KiB.
_LONGEST: Final = 1 << 20
_DEEPEST: Final = 24
_FIX: Final = "Correct these lines; `docs/recipes.md` says how our YAML is written."

_Node = yaml.ScalarEvent | yaml.CollectionStartEvent

#: libyaml's parser where PyYAML was built with it: ten times as fast, the same events.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Refused:
    """Stands where a fault was; never leaves this module."""


_REFUSED: Final = _Refused()


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file says.

    Attributes:
        label: The file, for messages.
        data: Mappings, lists, texts, numbers, booleans and None.
        lines: The line of every key and of every element of a list, by its path.
    """

    label: str
    data: object
    lines: dict[Path_, int]

    def line(self, path: Path_) -> int:
        """Return the line of ``path``, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, faults: list[tuple[Path_, str]]) -> RecipeError:
        """Return the error that tells ``faults``, each with its line, in file order."""
        found = sorted(
            {(self.line(path), path_fault(path, text)) for path, text in faults}
        )
        return _error(self.label, found)


def path_fault(path: Path_, text: str) -> str:
    """Return ``text`` with the path that it is said of."""
    return f"`{text_of(path)}`: {text}" if path else text


def read_yaml(path: Path, kind: type[T]) -> T:
    """Return the value of ``kind`` that the file at ``path`` describes.

    Args:
        path: A YAML file.
        kind: A ``msgspec.Struct``; itself and all in it with ``forbid_unknown_fields``.

    Raises:
        RecipeError: The file cannot be read, or with every fault, its line and key.
    """
    return convert(parse_yaml(read_bytes(path), str(path)), kind)


def read_bytes(path: Path) -> bytes:
    """Return what the file at ``path`` holds; one byte more than is parsed, at most.

    Raises:
        RecipeError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST + 1)
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read: {error.strerror}.", fix="Check the path."
        ) from error


def convert(document: Document, kind: type[T]) -> T:
    """Return the value of ``kind`` that ``document`` describes.

    Keys that start with ``x-`` are left out wherever a key of ours could stand.

    Raises:
        RecipeError: With every fault, its line and key.
    """
    value, faults = faults_of(document.data, kind)
    if value is None:
        raise document.error(faults)
    return value


def parse_yaml(raw: bytes, label: str) -> Document:
    """Return what ``raw`` says.

    Raises:
        RecipeError: It is too long, not UTF-8, not YAML, or more than plain YAML.
    """
    if len(raw) > _LONGEST:
        raise _error(label, [(1, f"it is over {_LONGEST >> 20} MiB long")])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _error(label, [(line, "it is not UTF-8")]) from error
    builder = _Builder(label)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        said = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise _error(
            label, [*builder.faults, (line, f"{said}{_tab(text, line)}")]
        ) from error
    except yaml.YAMLError as error:
        raise _error(label, [(1, " ".join(str(error).split()))]) from error
    return builder.document()


def _tab(text: str, line: int) -> str:
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    return (
        "; indent with spaces" if "\t" in here[: len(here) - len(here.lstrip())] else ""
    )


def _error(label: str, faults: list[tuple[int, str]]) -> RecipeError:
    return RecipeError(
        f"{label} is not right.",
        evidence=tuple(dict.fromkeys(f"line {line}: {text}" for line, text in faults)),
        fix=_FIX,
    )


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    value: dict[str, Any] | list[Any]
    path: Path_
    line: int
    key: str | None = None
    key_line: int = 0


class _Builder:
    """Makes data of the parser's events; one pass, no recursion."""

    def __init__(self, label: str) -> None:
        self.faults: list[tuple[int, str]] = []
        self._label = label
        self._open: list[_Open] = []
        self._lines: dict[Path_, int] = {}
        self._roots: list[object] = []

    def document(self) -> Document:
        """Return all of it, once the events are over."""
        if self.faults:
            raise _error(self._label, sorted(self.faults))
        if not self._roots:
            raise _error(self._label, [(1, "it is empty")])
        return Document(self._label, self._roots[0], self._lines)

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            self._fault(line, f"`*{event.anchor}`: aliases are not taken; write it out")
            self._place(_REFUSED, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_decoration(event, line)
            self._place(self._scalar(event, line), line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_decoration(event, line)
            self._start({} if isinstance(event, yaml.MappingStartEvent) else [], line)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            self._place_done(done.value, done.line)
        elif isinstance(event, yaml.DocumentStartEvent) and self._roots:
            raise _error(self._label, [*self.faults, (line, "a second document")])

    def _fault(self, line: int, text: str) -> None:
        self.faults.append((line, text))

    def _refuse_decoration(self, event: _Node, line: int) -> None:
        if event.anchor is not None:
            self._fault(line, f"`&{event.anchor}`: anchors are not taken")
        if event.tag is not None:
            self._fault(line, f"`{event.tag}`: tags are not taken")

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> object:
        text: str = event.value
        if event.style:
            return text
        if fault := fault_of_plain(text):
            self._fault(line, fault)
            return _REFUSED
        return value_of_plain(text)

    def _start(self, value: dict[str, Any] | list[Any], line: int) -> None:
        if len(self._open) >= _DEEPEST:
            raise _error(self._label, [(line, f"nested deeper than {_DEEPEST} levels")])
        above = self._open[-1] if self._open else None
        if above and isinstance(above.value, dict) and above.key is None:
            raise _error(self._label, [*self.faults, (line, "a key must be a text")])
        self._open.append(_Open(value, self._path_here(line), line))

    def _path_here(self, line: int) -> Path_:
        """Return the path of what comes next, and note its line."""
        if not self._open:
            return ()
        above = self._open[-1]
        if isinstance(above.value, list):
            path = (*above.path, len(above.value))
            self._lines[path] = line
        else:
            path = (*above.path, above.key or "")
            self._lines[path] = above.key_line
        return path

    def _place(self, value: object, line: int) -> None:
        """Put a scalar where it belongs: it may be a key."""
        above = self._open[-1] if self._open else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            self._key(above, value, line)
            return
        self._path_here(line)
        self._place_done(value, line)

    def _key(self, above: _Open, key: object, line: int) -> None:
        if not isinstance(key, str):
            if not isinstance(key, _Refused):
                self._fault(line, f"the key `{key}` is not a text; put it in quotes")
            key = f"\0{line}"
        if key in above.value:
            first = self._lines[(*above.path, key)]
            path = text_of((*above.path, key))
            self._fault(line, f"`{path}` stands here and on line {first}")
        above.key, above.key_line = key, line

    def _place_done(self, value: object, line: int) -> None:
        if not self._open:
            self._roots.append(value)
            self._lines[()] = line
            return
        above = self._open[-1]
        if isinstance(above.value, list):
            above.value.append(value)
        elif above.key is not None:
            above.value[above.key] = value
            above.key = None
