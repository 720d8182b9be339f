"""Templates of recipes: ``{placeholders}`` -> the values of ``defaults``. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

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
