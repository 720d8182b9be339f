"""What a word of YAML means that stands without quotes. Pure."""

import re
from typing import Final

_MOST_DIGITS: Final = 20
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_WORDS: Final = {"true": True, "false": False, "null": None}
#: Plain words that are something else to one of the two YAMLs. YAML 1.1, the types
#: bool, null, int, float, timestamp, merge and value; YAML 1.2.2, section 10.3.2.
_AMBIGUOUS: Final = re.compile(
    r"""(?ix)
    | ~ | null | true | false | yes | no | on | off | y | n | << | =
    | [-+]?\.(?:inf|nan)
    | [-+]?0[box][0-9a-f_]+
    | [-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?
    | [-+]?\.[0-9][0-9_]*(?:e[-+]?[0-9]+)?
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\ \t].*)?
    """
)


def fault_of_plain(text: str) -> str | None:
    """Return what is wrong with a plain word; None: nothing."""
    if text in _WORDS:
        return None
    if not text:
        return 'nothing stands here; write null, "", {} or []'
    if _NUMBER.fullmatch(text):
        long = len(text) > _MOST_DIGITS
        return f"a number of {len(text)} characters" if long else None
    if _AMBIGUOUS.fullmatch(text):
        return (
            f"`{text}` is not the same to every YAML; put it in quotes, or write "
            "true, false, null or a plain decimal number"
        )
    return None


def value_of_plain(text: str) -> bool | int | float | str | None:
    """Return what a plain word means that has no fault."""
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
