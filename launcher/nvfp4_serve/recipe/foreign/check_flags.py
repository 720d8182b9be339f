"""The flags of a foreign recipe -> those that may stay, and what is wrong. Pure."""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.flags import as_vllm_reads
from nvfp4_serve.recipe.forbidden import why_no_flag
from nvfp4_serve.recipe.foreign.arguments import (
    Argument,
    Arguments,
    claims,
    value_words,
)
from nvfp4_serve.recipe.foreign.changes import GONE, RENAMED
from nvfp4_serve.recipe.foreign.dangers import About, dangers, public_bind
from nvfp4_serve.recipe.foreign.flags import Flags
from nvfp4_serve.recipe.foreign.types import error, info, warning

#: Flags that are the user's to give, or that say which of several nodes this is.
_LEFT_OUT: Final = frozenset(
    {
        "--host", "--port", "--served-model-name", "--uvicorn-log-level",
        "--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless",
        "--data-parallel-address", "--data-parallel-rpc-port",
        "--data-parallel-start-rank", "--data-parallel-rank",
        "--data-parallel-size-local",
    }
)  # fmt: skip
#: Ends of the names of flags that take JSON.
_OBJECTS: Final = ("-config", "-kwargs", "-overrides", "-per-prompt")
_SECRET: Final = frozenset({"--api-key", "--hf-token"})
_FIX_FLAG: Final = "Leave it out, or write what vLLM takes; it is not in the recipe."


def check_flags(
    found: Arguments, flags: Flags, about: About, label: str
) -> tuple[tuple[Argument, ...], tuple[Finding, ...]]:
    """Return the arguments for the recipe, and everything that is wrong with them."""
    findings = [
        error(
            "word-out-of-place",
            f"{label}:{fault.line}: {fault.text}.",
            "Correct the command and import it again.",
        )
        for fault in found.faults
    ]
    given = [
        _as_read(_renamed(argument, flags, label, findings)) for argument in found.given
    ]
    claimed = claims(given)
    findings += _disagreements(claimed, label)
    counted = [several[-1] for several in claimed.values()]
    kept: list[Argument] = []
    for argument in counted:
        against = tuple(_against(argument, flags, label))
        findings += against
        if not against and argument.name not in _LEFT_OUT:
            kept.append(argument)
    findings += _left_out(counted, label)
    if not about.is_published:
        findings += public_bind(counted, label)
    findings += dangers(kept, about, label)
    return tuple(kept), tuple(findings)


def _as_read(argument: Argument) -> Argument:
    """Return the argument with the value that vLLM's parser makes of it."""
    if not isinstance(argument.value, str):
        return argument
    return replace(argument, value=as_vllm_reads(argument.name, argument.value))


def _left_out(given: list[Argument], label: str) -> Iterator[Finding]:
    left = [
        f"`{item.shown}` (line {item.line})"
        for item in given
        if item.name in _LEFT_OUT and not item.expansions
    ]
    if left:
        yield info(
            "left-to-the-user",
            f"{label}: not in the recipe, for they are the launcher's own options or "
            f"say which node this is: {', '.join(left)}.",
            "Give them to `nvfp4-serve serve`, if you want them so.",
        )


def _renamed(
    argument: Argument, flags: Flags, label: str, findings: list[Finding]
) -> Argument:
    """Return the argument under the name that the pinned vLLM has for it."""
    new = RENAMED.get(argument.name)
    if argument.is_known or new is None:
        return argument
    value = argument.value if new.switch is None else new.switch
    today = Argument(
        new.name, argument.spelt, value, argument.line, True, argument.expansions
    )
    since = f" ({new.since})" if new.since else ""
    shown = f"--no-{new.name[2:]}" if value is False else today.shown
    findings.append(
        warning(
            "flag-renamed",
            f"{label}:{argument.line}: vLLM {flags.version} has no "
            f"`{argument.name}`{since}; the recipe says `{shown}`, which means the "
            "same.",
            "Write it so in the text, too.",
        )
    )
    return today


def _disagreements(claimed: dict[str, list[Argument]], label: str) -> Iterator[Finding]:
    for *others, last in claimed.values():
        for other in others:
            if other.value != last.value:
                yield warning(
                    "flag-given-twice",
                    f"{label}:{other.line}: `{other.shown}` disagrees with "
                    f"`{last.shown}` of line {last.line}; vLLM takes this one, and so "
                    "does the recipe.",
                    "Leave one of them out.",
                )


def _against(argument: Argument, flags: Flags, label: str) -> Iterator[Finding]:
    """Yield why an argument is not in the recipe."""
    at = f"{label}:{argument.line}"
    name = argument.name
    if name in _SECRET:
        yield warning(
            "secret-in-text",
            f"{at}: `{name}` is given in the text; it is neither shown nor kept.",
            "Take it out of the file, and replace it where the file was shared. Set "
            "`VLLM_API_KEY` or `HF_TOKEN` where the engine is started.",
        )
    elif argument.expansions:
        yield error(
            "value-of-the-shell",
            f"{at}: `{name}` is {', '.join(argument.expansions)}, which only the shell "
            "that runs it knows; it is not in the recipe.",
            "Write the value out and import it again.",
        )
    elif name == "--trust-remote-code":
        if argument.value is True:
            yield warning(
                "remote-code",
                f"{at}: `--trust-remote-code` runs code of the checkpoint's; it is "
                "not in the recipe.",
                "Give it by hand after `--`, where the model cannot do without.",
            )
    elif argument.is_known:
        yield from _not_for_a_recipe(argument, at)
        yield from _wrong_value(argument, flags, at)
    else:
        yield _not_taken(argument, flags, at)


def _not_for_a_recipe(argument: Argument, at: str) -> Iterator[Finding]:
    why = why_no_flag(argument.name, argument.value)
    if why is not None and argument.name not in _LEFT_OUT:
        yield warning(
            "not-for-a-recipe",
            f"{at}: `{argument.shown}`: {why}.",
            "Give it by hand after `--`, where the model cannot do without.",
        )


def _not_taken(argument: Argument, flags: Flags, at: str) -> Finding:
    told = GONE.get(argument.name)
    near = difflib.get_close_matches(argument.name, flags.spellings, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    hint = f"; {told}" if told else hint
    return error(
        "flag-not-taken",
        f"{at}: vLLM {flags.version} has no `{argument.name}`{hint}",
        _FIX_FLAG,
    )


def _wrong_value(argument: Argument, flags: Flags, at: str) -> Iterator[Finding]:
    flag = flags.by_name[argument.name]
    words = value_words(argument.value)
    if flag.takes_value == "no" and words:
        yield error(
            "flag-value-not-taken",
            f"{at}: `{argument.name}` is a switch; it takes no value, and it has "
            f"`{words[0]}`.",
            f"Write `{argument.name}` or `--no-{argument.name[2:]}`.",
        )
    is_object = argument.name.endswith(_OBJECTS)
    if is_object and isinstance(argument.value, str) and argument.value[:1] == "{":
        yield error(
            "value-no-json",
            f"{at}: the value of `{argument.name}` begins like JSON and is none: "
            f"`{argument.value}`.",
            "Correct it; inside of single quotes a shell takes no backslash away.",
        )
    if not flag.choices or flag.takes_value == "no":
        return
    for word in words:
        if word in flag.choices:
            continue
        near = difflib.get_close_matches(word, flag.choices, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        yield error(
            "flag-value-not-taken",
            f"{at}: vLLM {flags.version} takes no `{argument.name} {word}`{hint}",
            f"It takes {', '.join(flag.choices)}.",
        )
