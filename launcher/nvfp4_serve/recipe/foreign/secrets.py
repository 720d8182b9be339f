"""Secrets in a foreign text: found before anything is said, and never said."""

import re
from collections.abc import Iterable
from typing import Final

#: What replaces a secret, wherever a text quotes the foreign one.
HIDDEN: Final = "<secret>"

_NAME: Final = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|ACCESS_KEY_ID"
    r"|PRIVATE_KEY|CREDENTIALS?)$",
    re.IGNORECASE,
)
#: ``NAME=value``, ``NAME: value``, ``--api-key value``, in any quotes.
_GIVEN: Final = re.compile(
    r"""(?ix)
    (?P<name> [\w-]* (?:token|secret|password|passwd|api[_-]?key|access[_-]key(?:_id)?
      |private_key|credentials?) )
    ["']? \s* (?: [=:] | \s ) \s* (?P<value> "[^"\n]*" | '[^'\n]*' | [^\s"',\\]+ )
    """
)
#: Tokens that show by themselves what they are.
_SHAPES: Final = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|nvapi-[\w-]{16,}|AKIA[A-Z0-9]{16}|glpat-[\w-]{16,})"
)
_URL_LOGIN: Final = re.compile(r"://[^\s/@:]+:([^\s/@]+)@")
#: Values that hide nothing, or that stand for one.
_HARMLESS: Final = re.compile(r"(?i)empty|none|null|true|false|[<{$].*|\d{1,3}|")
_SHORTEST: Final = 4


def is_secret_name(name: str) -> bool:
    """True for a variable, or a flag, whose value nobody should read."""
    return bool(_NAME.search(name.replace("-", "_")))


def secrets_in(text: str) -> frozenset[str]:
    """Return every secret of ``text`` that must not be repeated."""
    found = {match.group() for match in _SHAPES.finditer(text)}
    found |= {match.group(1) for match in _URL_LOGIN.finditer(text)}
    for match in _GIVEN.finditer(text):
        if is_secret_name(match["name"].lstrip("-")):
            value = match["value"].strip("\"'")
            # A bracket at the end may be the file's or the secret's.
            found |= {value, value.rstrip("}])>;")}
    return frozenset(filter(_is_hidden, found))


def hidden(values: Iterable[str]) -> frozenset[str]:
    """Return those of ``values`` that must not be repeated."""
    return frozenset(filter(_is_hidden, values))


def _is_hidden(value: str) -> bool:
    return (
        len(value) >= _SHORTEST
        and not value.startswith("-")
        and not _HARMLESS.fullmatch(value)
    )


def redact(text: str, secrets: frozenset[str]) -> str:
    """Return ``text`` with every secret replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _SHAPES.sub(HIDDEN, text)
