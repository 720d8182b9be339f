"""Templates of recipes: ``{placeholders}`` -> the values of ``defaults``. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.types import error

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_.]*"
#: A brace around a name is a placeholder; another brace is JSON's, or the shell's.
_PLACEHOLDER: Final = re.compile(rf"(?<!\$)\{{({_NAME})\}}")
#: The same from left to right, where two braces are one: ``{a}}}`` is ``{a}``, ``}}``.
_DOUBLED: Final = re.compile(rf"\{{\{{|(?<!\$)\{{({_NAME})\}}|\}}\}}")
#: Passes over the text; more than that is a value that names itself.
_PASSES: Final = 10
_BRACES: Final = {"{{": "\x00", "}}": "\x01"}


def fill(
    template: str, values: Mapping[str, Any], *, doubled: bool
) -> tuple[str, tuple[str, ...]]:
    """Return the text with its placeholders filled, and those without a value.

    Args:
        template: The text.
        values: What the placeholders stand for.
        doubled: ``{{`` is a brace; so in Python's ``str.format`` and eugr's recipes.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] in _BRACES:
            return _BRACES[match[0]]
        # Filled as Python prints it: True, not true. The recipes' own tools do so.
        found = values.get(match[1])
        return match[0] if found is None else str(found)

    text = _DOUBLED.sub(value, template) if doubled else template
    for _ in range(_PASSES):
        filled = _PLACEHOLDER.sub(value, text)
        if filled == text:
            break
        text = filled
    missing = tuple(dict.fromkeys(match[1] for match in _PLACEHOLDER.finditer(text)))
    return text.replace("\x00", "{").replace("\x01", "}"), missing


def missing_values(
    template: str, missing: tuple[str, ...], line: int, label: str
) -> Iterator[Finding]:
    """Yield what is said of placeholders without a value, each with its line."""
    for name in missing:
        # One that a value brought along stands nowhere in the template itself.
        above = template.partition(f"{{{name}}}")[0]
        at = line + (above.count("\n") if above != template else 0)
        yield error(
            "placeholder-without-value",
            f"{label}:{at}: `{{{name}}}` stands for nothing: `defaults` has no "
            f"`{name}`.",
            "Add it to `defaults`, or take the flag out.",
        )
