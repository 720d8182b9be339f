"""Fields of a foreign YAML recipe, with a clear word where one is of a wrong kind."""

from collections.abc import Iterator
from typing import Any, Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.types import Setting, info, warning
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

_FIX: Final = "Correct it; the format's own tool refuses it, too."


def text_field(source: ForeignYaml, key: str, label: str) -> str | None:
    """Return the text of ``key``, or None: it is not there.

    Raises:
        RecipeError: It is no text.
    """
    value = source.data.get(key)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _wrong(source, key, label, "a text")


def mapping_field(source: ForeignYaml, key: str, label: str) -> dict[str, Any]:
    """Return the mapping of ``key``; an empty one where it is not there.

    Raises:
        RecipeError: It is no mapping.
    """
    value = source.data.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise _wrong(source, key, label, "a mapping")


def list_field(source: ForeignYaml, key: str, label: str) -> list[Any]:
    """Return the list of ``key``; a single value is a list of one.

    Raises:
        RecipeError: It is a mapping.
    """
    value = source.data.get(key)
    if value is None:
        return []
    if isinstance(value, dict):
        raise _wrong(source, key, label, "a list")
    return value if isinstance(value, list) else [value]


def count_field(source: ForeignYaml, key: str, label: str) -> int | None:
    """Return the number of ``key``, or None: it is not there.

    Raises:
        RecipeError: It is no whole number above 0.
    """
    value = source.data.get(key)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise _wrong(source, key, label, "a whole number above 0")


def settings(
    source: ForeignYaml, values: dict[str, Any], *path: str | int
) -> Iterator[Setting]:
    """Yield the variables of a mapping, each as YAML's reader prints it."""
    for name, value in values.items():
        shown = "" if value is None else str(value)
        yield Setting(name, shown, source.line(*path, name))


def unread(source: ForeignYaml, known: frozenset[str], label: str) -> Iterator[Finding]:
    """Yield what is said of keys that are not read, and of keys that stand twice."""
    left = [key for key in source.data if key not in known and not key.startswith("x-")]
    if left:
        names = ", ".join(f"`{key}` (line {source.line(key)})" for key in left)
        yield info(
            "keys-not-read",
            f"{label}: these keys are not read: {names}.",
            "Look at them; they may matter to the engine.",
        )
    for path, line in source.twice:
        yield warning(
            "key-given-twice",
            f"{label}:{line}: `{path[-1]}` stands twice; the second counts.",
            "Leave one of them out.",
        )


def not_run(
    source: ForeignYaml, keys: tuple[str, ...], label: str
) -> Iterator[Finding]:
    """Yield what is said of hooks and mods: they are listed, and never run."""
    for key in keys:
        value = source.data.get(key)
        entries = value if isinstance(value, list) else [value] if value else []
        if not entries:
            continue
        shown = "; ".join(_one_line(entry) for entry in entries)
        yield warning(
            "hooks-not-run",
            f"{label}:{source.line(key)}: `{key}` changes the container, and is not "
            f"run: {shown}.",
            "What they mend may be missing: read them, and look for the same in "
            "`patches/`. The recipe is without them.",
        )


def _one_line(entry: object) -> str:
    if isinstance(entry, dict):
        entry = ", ".join(f"{key}: {value}" for key, value in entry.items())
    text = " ".join(str(entry).split())
    return text if len(text) <= 120 else f"{text[:119]}…"


def _wrong(source: ForeignYaml, key: str, label: str, wanted: str) -> RecipeError:
    return RecipeError(
        f"{label}: `{key}` must be {wanted}.",
        evidence=(f"line {source.line(key)}",),
        fix=_FIX,
    )
