"""Flags of vLLM's that take JSON, as a user may write them. Pure.

``--x '{"a": {"b": 1}}'`` and ``--x.a.b 1`` say the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.flags import flag_name, grouped_words

#: Short spellings. vLLM 0.32.0, engine/arg_utils.py.
_SHORT: Final[Mapping[str, str]] = {
    "-sc": "--speculative-config",
    "-cc": "--compilation-config",
    "-ac": "--attention-config",
}


@dataclass(frozen=True, slots=True)
class Nested:
    """What the user gave one such flag.

    Attributes:
        whole: The object of ``--x {...}``; None where the flag was not given so. The
            last one counts, as for every flag.
        keys: The keys of ``--x.a.b 1``, as ``("a", "b")``, and the value's text.
        words: All of these words, as they stood.
        others: The words of all other flags.
    """

    whole: Mapping[str, object] | None
    keys: tuple[tuple[tuple[str, ...], str], ...]
    words: tuple[str, ...]
    others: tuple[str, ...]


def read_nested(words: tuple[str, ...], flag: str) -> Nested:
    """Return what ``words`` say of ``flag``.

    Raises:
        UsageError: What follows the flag is no JSON object.
    """
    whole: Mapping[str, object] | None = None
    keys: list[tuple[tuple[str, ...], str]] = []
    mine: list[str] = []
    others: list[str] = []
    for group in grouped_words(words):
        name = flag_name(group[0])
        if _SHORT.get(name, name) != flag:
            others += group
            continue
        mine += group
        head, equals, glued = group[0].partition("=")
        text = " ".join([glued, *group[1:]] if equals else group[1:])
        if "." in head:
            # `--x.a+ 1,2` is a list.
            keys.append((tuple(head.rstrip("+").split(".")[1:]), text))
        else:
            whole = _object(flag, text)
    return Nested(whole, tuple(keys), tuple(mine), tuple(others))


def nested_text(words: tuple[str, ...], flag: str, key: str) -> str | None:
    """Return the text under a first-level ``key`` of ``flag``, where it is given.

    Keys behind dots stand in the place of the whole object. vLLM 0.32.0,
    ``utils/argparse_utils.py``, ``parse_args``.
    """
    given = read_nested(words, flag)
    if given.keys:
        return dict(given.keys).get((key,))
    value = (given.whole or {}).get(key)
    return value if isinstance(value, str) else None


def _object(flag: str, text: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _no_object(flag, text) from error
    if not isinstance(value, dict):
        raise _no_object(flag, text)
    return value


def _no_object(flag: str, text: str) -> UsageError:
    return UsageError(
        f"`{flag}` is {text!r}; it must be a JSON object.",
        fix="Correct it after `--`; a shell needs quotes around it: '{\"key\": 1}'.",
    )
