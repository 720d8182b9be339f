"""Secrets in a foreign text: found before anything is said, and never said."""

import re
from collections.abc import Iterable
from typing import Final

#: What replaces a secret, wherever a text quotes the foreign one.
HIDDEN: Final = "<secret>"

_KEY: Final = re.compile(
    r"(?:^|_)(?:secret|password|passwd|api_?key|access_key|access_key_id|private_key"
    r"|credentials?)$",
    re.IGNORECASE,
)
#: ``HF_TOKEN`` and ``auth_token``, but not ``eos_token`` and ``image_token``.
_TOKEN: Final = re.compile(
    r"[A-Z0-9_]*TOKEN|(?i:(?:.*_)?(?:hf|hub|hugging_?face|auth|access|api|bearer|github"
    r"|gh|gitlab|ngc|wandb)_token)"
)
_VALUE: Final = r"""(?P<value> "[^"\n]*" | '[^'\n]*' | [^\s"',\\]+ )"""
#: ``NAME=value`` and ``NAME: value``, the name in quotes or not; ``--name value``.
_GIVEN: Final = re.compile(rf"""(?x) (?P<name>\w+) ["']? \s* [=:] \s* {_VALUE}""")
_FLAG: Final = re.compile(
    rf"""(?x) (?P<name>--[\w-]+) (?: = | ["']? [\s,\\]+ ) {_VALUE}"""
)
#: Tokens that show by themselves what they are.
_SHAPES: Final = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|nvapi-[\w-]{16,}|AKIA[A-Z0-9]{16}|glpat-[\w-]{16,})"
)
#: ``https://me:secret@host``; an image as ``me:secret@host/name``, but no digest.
_LOGIN: Final = re.compile(
    r"""(?:://[^\s/@:]+:([^\s/@]+)@|(?:^|[\s"'=])[^\s/@:"'=]+:([^\s/@]+)@"""
    r"""[\w.-]+(?::\d+)?/)""",
    re.MULTILINE,
)
#: Values that hide nothing, or that stand for one.
_HARMLESS: Final = re.compile(r"(?i)empty|none|null|true|false|[<{$].*|\d{1,3}|")
_SHORTEST: Final = 4


def is_secret_name(name: str) -> bool:
    """True for a variable, or a flag, whose value nobody should read."""
    if name.startswith("--"):
        name = name[2:].replace("-", "_")
        return name == "token" or is_secret_name(name)
    return bool(_KEY.search(name) or _TOKEN.fullmatch(name))


def secrets_in(text: str) -> frozenset[str]:
    """Return every secret of ``text`` that must not be repeated."""
    found = [match.group() for match in _SHAPES.finditer(text)]
    found += [match[1] or match[2] for match in _LOGIN.finditer(text)]
    for pattern in (_GIVEN, _FLAG):
        for match in pattern.finditer(text):
            if is_secret_name(match["name"]):
                value = match["value"].strip("\"'")
                # A bracket at the end may be the file's or the secret's.
                found += [value, value.rstrip("}])>;")]
    return hidden(found)


def hidden(values: Iterable[str]) -> frozenset[str]:
    """Return those of ``values`` that must not be repeated."""
    return frozenset(filter(_is_hidden, values))


def _is_hidden(value: str) -> bool:
    return (
        len(value) >= _SHORTEST
        and not value.startswith("-")
        and not _HARMLESS.fullmatch(value)
    )


def holds_secret(text: str, secrets: frozenset[str]) -> bool:
    """True where ``text`` repeats a secret."""
    return redact(text, secrets) != text


def redact(text: str, secrets: frozenset[str]) -> str:
    """Return ``text`` with every secret replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _SHAPES.sub(HIDDEN, text)
