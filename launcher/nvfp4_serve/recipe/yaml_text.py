"""Values -> YAML text that every YAML reader takes for the same. No library."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

#: Plain words that no YAML, 1.1 or 1.2, reads as anything else.
_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*[A-Za-z0-9_]|[A-Za-z]{2}")
_PLAIN_KEY: Final = re.compile(r"(--)?[A-Za-z][A-Za-z0-9_.-]*")
_RESERVED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
#: What JSON may leave as it is and YAML may not: YAML 1.2.2, production 1, and the
#: characters that end a line for YAML 1.1.
_UNPRINTABLE: Final = re.compile(
    "[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]"
)
_LONGEST_INSIDE: Final = 78


def render_yaml(value: Mapping[str, Any]) -> str:
    """Return ``value`` as a YAML document, ending in a newline."""
    return "\n".join(_mapping(value, "")) + "\n"


class Block(str):
    """A text that is written as a literal block, line by line."""

    __slots__ = ()


class Inside(dict[str, Any]):
    """A mapping that is written in one line."""


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, below in value.items():
        yield from _entry(f"{indent}{_key(key)}:", below, indent)


def _entry(head: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Block) and _fits_block(value):
        yield f"{head} |"
        yield from (f"{indent}  {line}".rstrip() for line in value.splitlines())
    elif isinstance(value, Mapping) and value and not isinstance(value, Inside):
        yield head
        yield from _mapping(value, f"{indent}  ")
    elif _is_long_list(value):
        yield head
        for item in value:
            yield from _item(item, f"{indent}  ")
    else:
        yield f"{head} {_flow(value)}"


def _item(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value and not isinstance(value, Inside):
        lines = list(_mapping(value, f"{indent}  "))
        yield f"{indent}- {lines[0].strip()}"
        yield from lines[1:]
    else:
        yield f"{indent}- {_flow(value)}"


def _is_long_list(value: object) -> TypeGuard[Sequence[object]]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return False
    return any(isinstance(item, Mapping) for item in value) or (
        len(_flow(value)) > _LONGEST_INSIDE
    )


def _fits_block(value: str) -> bool:
    """True where a literal block keeps every character."""
    lines = value.splitlines()
    return (
        bool(lines)
        and value == "\n".join(lines) + "\n"
        and not lines[0].startswith((" ", "\t"))
        and all(line == line.rstrip() and "\t" not in line for line in lines)
        and lines[-1] != ""
        and not _UNPRINTABLE.search(value)
        and all(char >= " " or char == "\n" for char in value)
    )


def _key(key: str) -> str:
    is_plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in {*_RESERVED, "y", "n"}
    return key if is_plain else _quoted(key)


def _flow(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        inner = (f"{_key(key)}: {_flow(below)}" for key, below in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value)


def _text(value: str) -> str:
    is_plain = _PLAIN.fullmatch(value) and value.lower() not in _RESERVED
    return str(value) if is_plain else _quoted(value)


def _quoted(value: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
