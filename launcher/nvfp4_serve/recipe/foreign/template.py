"""Templates of recipes: ``{placeholders}`` -> the values of ``defaults``. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

#: A brace around a name is a placeholder; any other brace is JSON's, or the shell's.
_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_.]*)\}")
#: Passes over the text; more than that is a value that names itself.
_PASSES: Final = 10
_OPEN, _CLOSE = "\x00", "\x01"


def fill(
    template: str, values: Mapping[str, Any], *, doubled: bool
) -> tuple[str, tuple[str, ...]]:
    """Return the text with its placeholders filled, and those without a value.

    Args:
        template: The text.
        values: What the placeholders stand for.
        doubled: ``{{`` is a brace; so in Python's ``str.format`` and eugr's recipes.
    """
    text = template
    if doubled:
        text = text.replace("{{", _OPEN).replace("}}", _CLOSE)
    for _ in range(_PASSES):
        filled = _PLACEHOLDER.sub(lambda match: _value(match, values), text)
        if filled == text:
            break
        text = filled
    missing = tuple(dict.fromkeys(match[1] for match in _PLACEHOLDER.finditer(text)))
    return text.replace(_OPEN, "{").replace(_CLOSE, "}"), missing


def _value(match: re.Match[str], values: Mapping[str, Any]) -> str:
    name = match[1]
    if values.get(name) is None:
        return match[0]
    # Filled as Python would print it: True, not true. The recipe's own tool does so.
    return str(values[name])
