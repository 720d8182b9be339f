"""What follows ``vllm serve`` -> the model, and every flag with its value. Pure."""

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nvfp4_serve.recipe.foreign.flags import Flags
from nvfp4_serve.recipe.foreign.words import Word

#: True: the switch; False: its ``--no-`` form. Objects are JSON on the command line.
Value = bool | str | list[str] | dict[str, Any]
#: No flag's value is nested deeper; vLLM's configs have four levels.
_DEEPEST: Final = 32
_SUFFIXED: Final = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")


@dataclass(frozen=True, slots=True)
class Argument:
    """A flag of vLLM's, and its value.

    Attributes:
        name: The flag's name as the pinned vLLM has it; as written where it has none.
        spelt: As the text has it.
        is_known: The pinned vLLM takes it.
    """

    name: str
    spelt: str
    value: Value
    line: int
    is_known: bool = True
    expansions: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The flag and its value, as one would type them."""
        return " ".join((self.name, *value_words(self.value)))


@dataclass(frozen=True, slots=True)
class Fault:
    """A word that makes no sense where it stands."""

    line: int
    text: str


@dataclass(slots=True)
class Arguments:
    """What a command line says.

    Attributes:
        model: The model, where the command names it.
        given: Every flag, in order; one that is given twice stands twice.
    """

    model: Word | None = None
    given: list[Argument] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def value_words(value: Value) -> tuple[str, ...]:
    """Return the words that follow the flag."""
    if isinstance(value, bool):
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(value)
    return (json.dumps(value, separators=(",", ":"), ensure_ascii=False),)


def read_arguments(words: tuple[Word, ...], flags: Flags) -> Arguments:
    """Return what ``words`` say to the parser of the pinned vLLM.

    Source:
        vLLM 0.32.0, ``utils/argparse_utils.py``, ``FlexibleArgumentParser.parse_args``:
        underscores, ``-O3``, ``--a.b=c``, and the last of two values counts.
    """
    found = Arguments()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if _is_flag(word.text):
            argument = _argument(word, rest, flags, found.faults)
            if argument.name == "--model":
                found.model = Word(str(argument.value), word.line, argument.expansions)
            else:
                found.given.append(argument)
        elif found.model is None:
            found.model = word
        else:
            found.faults.append(Fault(word.line, f"`{word.text}` belongs to no flag"))
    return found


def claims(given: list[Argument]) -> dict[str, list[Argument]]:
    """Return what is claimed of every flag; the last claim is what vLLM takes.

    Keys that are given one by one, as ``--a.b``, are one claim together, and it comes
    after every other: what ``--a`` itself was given is lost. vLLM keeps a claim for
    each spelling, so that ``-cc.mode`` and ``--compilation-config.mode`` are two.

    Source:
        vLLM 0.32.0, ``utils/argparse_utils.py``, ``dict_args``.
    """
    found: dict[str, list[Argument]] = {}
    dotted: dict[str, Argument] = {}
    for argument in given:
        base, dot, _ = argument.spelt.partition(".")
        found.setdefault(argument.name, [])
        if not dot or not isinstance(argument.value, dict):
            found[argument.name].append(argument)
            continue
        key = base.replace("_", "-")
        before = dotted.get(key)
        value = argument.value
        if before is not None and isinstance(before.value, dict):
            value = _merged(before.value, value)
        dotted[key] = replace(before or argument, value=value)
    for argument in dotted.values():
        found[argument.name].append(argument)
    return found


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    result = dict(first)
    for key, value in second.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = _merged(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            result[key] = [*before, *value]
        else:
            result[key] = value
    return result


def _is_flag(text: str) -> bool:
    return text.startswith("-") and len(text) > 1 and not text[1].isdigit()


def _argument(
    word: Word, rest: list[Word], flags: Flags, faults: list[Fault]
) -> Argument:
    head, equals, attached = word.text.partition("=")
    expansions = list(word.expansions)
    if head.startswith("-O") and not head.startswith("--"):
        attached = attached or head[2:]
        head, equals = "--optimization-level", "=" if attached else ""
    base, dot, keys = head.partition(".")
    spelt = base.replace("_", "-") if base.startswith("--") else base
    flag = flags.find(spelt)
    if dot:
        told = attached if equals else _next(rest, word, expansions, faults)
        value: Value = _nested(keys, told)
    elif equals:
        value = _typed(attached)
    elif flag is None:
        value = _unknown_value(rest, expansions)
    else:
        value = _value(flag.takes_value, spelt, (word, rest), expansions, faults)
    name = flag.name if flag else spelt
    return Argument(name, head, value, word.line, flag is not None, tuple(expansions))


def _next(
    rest: list[Word], word: Word, expansions: list[str], faults: list[Fault]
) -> str:
    if not rest or rest[0].text.startswith("--"):
        faults.append(Fault(word.line, f"`{word.text}` has no value"))
        return ""
    taken = rest.pop(0)
    expansions += taken.expansions
    return taken.text


def _value(
    takes: str,
    spelt: str,
    at: tuple[Word, list[Word]],
    expansions: list[str],
    faults: list[Fault],
) -> Value:
    word, rest = at
    if takes == "no":
        return not spelt.startswith("--no-")
    if takes == "one":
        return _typed(_next(rest, word, expansions, faults))
    values: list[str] = []
    while rest and not _is_flag(rest[0].text):
        values.append(rest[0].text)
        expansions += rest.pop(0).expansions
        if takes == "optional":
            return values[0]
    if not values and takes == "many":
        faults.append(Fault(word.line, f"`{word.text}` has no value"))
    return values or True


def _unknown_value(rest: list[Word], expansions: list[str]) -> Value:
    """Take the word after a flag that nobody knows for its value."""
    if rest and not _is_flag(rest[0].text):
        expansions += rest[0].expansions
        return _typed(rest.pop(0).text)
    return True


def _typed(text: str) -> Value:
    """Return the object that a text is the JSON of, or the text."""
    if not text.startswith("{"):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) and _depth(value) < _DEEPEST else text


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(below) for below in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(below) for below in value), default=0)
    return 0


def _nested(keys: str, told: str) -> dict[str, Any]:
    """Return ``{"a": {"b": told}}`` for ``a.b``; ``a+`` takes a list.

    Source:
        vLLM 0.32.0, ``utils/argparse_utils.py``, ``create_nested_dict``.
    """
    value: Any
    if keys.endswith("+"):
        keys, value = keys[:-1], told.split(",")
    else:
        try:
            value = json.loads(told)
        except (ValueError, RecursionError):
            value = {"True": True, "False": False}.get(told, _number(told))
    for key in reversed(keys.split(".")):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def _number(text: str) -> int | str:
    """Return what ``2K`` and ``2.5k`` stand for, or the text.

    Source:
        vLLM 0.32.0, ``utils/argparse_utils.py``, ``human_readable_int``.
    """
    found = _SUFFIXED.fullmatch(text)
    if found is None:
        return text
    number, suffix = found.groups()
    power = "kmgt".index(suffix.lower()) + 1
    if suffix.islower():
        return int(float(number) * 1000**power)
    return int(number) * 1024**power if number.isdigit() else text
