"""Flags: the decisions of the rules, and the words of the user. Pure."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.types import Reason


@dataclass(frozen=True, slots=True)
class Choice:
    """A flag or a variable that a rule decided on.

    Attributes:
        name: ``--max-model-len``, or ``HF_HUB_OFFLINE`` for a variable.
        value: None for a switch.
        why: One sentence.
        source: How that is known: a file of vLLM, an issue, a measurement.
    """

    name: str
    value: str | None
    why: str
    source: str

    @property
    def is_flag(self) -> bool:
        """True for a flag, False for an environment variable."""
        return self.name.startswith("--")

    @property
    def words(self) -> tuple[str, ...]:
        """The flag as it stands on a command line."""
        return (self.name,) if self.value is None else (self.name, self.value)

    @property
    def reason(self) -> Reason:
        """The choice as a row of ``Plan.because``; a long value is cut short."""
        if self.is_flag:
            return Reason(short(" ".join(self.words)), self.why, self.source)
        return Reason(f"{self.name}={self.value}", self.why, self.source)


#: Characters of a flag and its value in a reason; ``Plan.argv`` has all of them.
_LONGEST: Final = 160

#: Every spelling that vLLM's parser takes (``--x``, ``-x``, ``--no-x``) to the name
#: of the flag (``--x``).
Spellings = Mapping[str, str]

#: What the launcher must know, to ask the engine whether it is right.
_OURS: Final = frozenset(
    {"--host", "--port", "--served-model-name", "--max-model-len", "--revision"}
)
#: What would change the model behind the back of everything that was checked, and
#: secrets.
_REFUSED: Final = {
    "--model": "Name the model in front of `--`; what was inspected is what is served.",
    "--hf-config-path": "The config that was inspected is the one that is served.",
    "--config": "Give its flags one by one; a config file hides them from the plan.",
    # Arguments can be read by everybody on the machine, and stand in saved plans.
    "--api-key": "It is a secret: put it into the environment as VLLM_API_KEY.",
    "--hf-token": "It is a secret: put it into the environment as HF_TOKEN.",
}


def check_flags(words: tuple[str, ...], spellings: Spellings, engine: str) -> None:
    """Refuse words after ``--`` that this engine does not take; all of them at once.

    Args:
        words: The words, as the user gave them.
        spellings: What the engine's parser takes.
        engine: The engine's name, for the message.

    Raises:
        UsageError: With the nearest flag that the engine has.
    """
    if words and not words[0].startswith("-"):
        raise UsageError(
            f"{words[0]!r} stands after `--` and is no flag of vLLM.",
            fix="Give one MODEL; put only vLLM's flags after `--`.",
        )
    names = [flag_name(word) for word in words if _is_flag(word)]
    faults = [
        f"{name}: {engine} has no such flag{_near(name, spellings)}"
        for name in names
        if name not in spellings
    ]
    faults += [f"{name}: {_REFUSED[name]}" for name in names if name in _REFUSED]
    faults += [
        f"{name}: give it in front of `--`, it is the launcher's own option too"
        for name in names
        if spellings.get(name) in _OURS
    ]
    if faults:
        raise UsageError(
            "Flags after `--` cannot be passed on.",
            evidence=tuple(dict.fromkeys(faults)),
            fix="Correct them; `nvfp4-serve plan MODEL` shows what is passed anyway.",
        )


def asked_flags(words: tuple[str, ...], spellings: Spellings) -> frozenset[str]:
    """Return the names of the flags among the user's words, however spelt."""
    names = (flag_name(word) for word in words if _is_flag(word))
    return frozenset(spellings[name] for name in names)


def flag_values(words: tuple[str, ...], spellings: Spellings) -> dict[str, str]:
    """Return the value of every flag that the user gave one; the last one counts."""
    values: dict[str, str] = {}
    for name, *rest in grouped_words(words):
        head, equals, value = name.partition("=")
        told = [value, *rest] if equals else rest
        if told and "." not in head:
            values[spellings[flag_name(head)]] = " ".join(told)
    return values


def user_reasons(words: tuple[str, ...]) -> tuple[Reason, ...]:
    """Return a reason for every flag that the user gave: that they gave it."""
    return tuple(
        Reason(" ".join(flag), "You asked for it.", "the command line")
        for flag in grouped_words(words)
    )


def grouped_words(words: tuple[str, ...]) -> list[list[str]]:
    """Return each flag with the values that follow it."""
    flags: list[list[str]] = []
    for word in words:
        if _is_flag(word) or not flags:
            flags.append([word])
        else:
            flags[-1].append(word)
    return flags


def _is_flag(word: str) -> bool:
    """True for ``--x`` and ``-tp``; False for values, negative numbers among them."""
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def flag_name(word: str) -> str:
    """Return the flag of a word as vLLM's parser reads it.

    ``--max_model_len=8`` is ``--max-model-len 8``; ``--a.b 1`` is a key of ``--a``;
    ``-cc.b 1`` one of ``-cc``; ``-O3`` is ``--optimization-level 3``.

    Source:
        vLLM 0.32.0, ``utils/argparse_utils.py``, ``FlexibleArgumentParser.parse_args``.
    """
    if word.startswith("-O"):
        return "--optimization-level"
    if not word.startswith("--"):
        return word.partition("=")[0].partition(".")[0]
    return word.partition("=")[0].partition(".")[0].replace("_", "-")


def short(text: str) -> str:
    """Return ``text``, cut where it is too long for a table."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _near(name: str, spellings: Spellings) -> str:
    near = difflib.get_close_matches(name, spellings, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
