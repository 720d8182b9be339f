"""Data -> a value of a type, or every fault at once. Pure."""

import contextlib
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

#: Keys and indices, from the top of the data.
Path_ = tuple[str | int, ...]
Fault = tuple[Path_, str]


def text_of(path: Path_) -> str:
    """Return ``variants[0].when.gpus`` for a path."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """Return ``; did you mean `x`?`` where something near ``word`` is known."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def faults_of(data: object, kind: type[T]) -> tuple[T | None, list[Fault]]:
    """Return the value of ``kind`` that ``data`` describes, or what is wrong with it.

    Args:
        data: Mappings, lists, texts, numbers, booleans and None.
        kind: A ``msgspec.Struct``; it and those in it forbid unknown fields.
    """
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(data, kind), []
    # Look at each part by itself; leave out the keys that are free.
    faults: list[Fault] = []
    pruned = _walk(data, kind, (), faults)
    if faults:
        return None, faults
    try:
        return msgspec.convert(pruned, kind), []
    except msgspec.ValidationError as error:
        return None, [((), str(error))]


def _walk(data: object, kind: object, path: Path_, faults: list[Fault]) -> object:
    """Return ``data`` without its free keys; add what is wrong with it."""
    kind = _member_for(data, kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if isinstance(data, dict):
            return _walk_struct(data, kind, path, faults)
        faults.append((path, f"wanted a mapping, found {_found(data)}"))
        return data
    if isinstance(data, dict) and origin in {dict, Mapping} and len(inner) == 2:
        return {
            key: _walk(value, inner[1], (*path, key), faults)
            for key, value in data.items()
        }
    if isinstance(data, list) and origin in {tuple, list} and inner[1:] in {(...,), ()}:
        return [
            _walk(value, inner[0], (*path, index), faults)
            for index, value in enumerate(data)
        ]
    return _leaf(data, kind, path, faults)


def _walk_struct(
    data: dict[str, Any], kind: type[msgspec.Struct], path: Path_, faults: list[Fault]
) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    kept = {}
    for key, value in data.items():
        if key in fields:
            hint = hints[fields[key].name]
            kept[key] = _walk(value, hint, (*path, key), faults)
        elif not key.startswith("x-"):
            faults.append(((*path, key), f"no such key{did_you_mean(key, fields)}"))
    faults += [
        (path, f"the key `{name}` is missing")
        for name, field in fields.items()
        if field.required and name not in data
    ]
    return kept


def _member_for(data: object, kind: object) -> object:
    """Return the member of a union that ``data`` can only be meant for."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0] if isinstance(data, dict | list) else kind
    if typing.get_origin(kind) not in {typing.Union, types.UnionType}:
        return kind
    for member in _members(kind):
        origin = typing.get_origin(member) or member
        is_mapping = origin in {dict, Mapping} or (
            isinstance(origin, type) and issubclass(origin, msgspec.Struct)
        )
        if isinstance(data, dict) and is_mapping:
            return member
        if isinstance(data, list) and origin in {tuple, list}:
            return member
    return kind


def _members(kind: object) -> Iterator[Any]:
    for member in typing.get_args(kind):
        if typing.get_origin(member) in {typing.Union, types.UnionType}:
            yield from _members(member)
        else:
            yield member


def _leaf(data: object, kind: object, path: Path_, faults: list[Fault]) -> object:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        faults.append((path, _said(str(error), data)))
    return data


def _said(message: str, data: object) -> str:
    """Return msgspec's words, with the value and what is likely meant."""
    message = message.partition(" - at `")[0]
    message = message[0].lower() + message[1:]
    quote = isinstance(data, int | float) and re.search(r"\bstr\b", message)
    return f"{message}: {_found(data)}" + ("; put it in quotes" if quote else "")


def _found(data: object) -> str:
    if data is None or isinstance(data, bool):
        return str(msgspec.json.encode(data).decode())
    if isinstance(data, dict):
        return "a mapping"
    if isinstance(data, list):
        return "a list"
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:59]}…"
