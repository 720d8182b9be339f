"""The flags of a foreign recipe -> those that may stay, and what is wrong. Pure."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.forbidden import why_no_flag
from nvfp4_serve.recipe.foreign.arguments import (
    Argument,
    Arguments,
    claims,
    value_words,
)
from nvfp4_serve.recipe.foreign.changes import GONE, GONE_KEYS, RENAMED
from nvfp4_serve.recipe.foreign.flags import Flags
from nvfp4_serve.recipe.foreign.types import Machine, error, info, warning

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


@dataclass(frozen=True, slots=True)
class About:
    """What the flags are held against.

    Attributes:
        machine: The machine that they are for.
        is_nvfp4: The checkpoint is in NVFP4.
        is_published: What is published decides who can reach the server.
    """

    machine: Machine
    is_nvfp4: bool
    is_published: bool


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
    given = [_renamed(argument, flags, label, findings) for argument in found.given]
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
        findings += _public(counted, label)
    findings += _dangers(kept, about, label)
    return tuple(kept), tuple(findings)


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
        if word in flag.choices or not isinstance(argument.value, str | list):
            continue
        near = difflib.get_close_matches(word, flag.choices, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        yield error(
            "flag-value-not-taken",
            f"{at}: vLLM {flags.version} takes no `{argument.name} {word}`{hint}",
            f"It takes {', '.join(flag.choices)}.",
        )


def _public(given: list[Argument], label: str) -> Iterator[Finding]:
    """Yield that everyone can reach the server.

    Source:
        vLLM 0.32.0, ``entrypoints/launchers/launcher.py``, ``args.host or ""``: without
        ``--host`` it binds every address.
    """
    names = {argument.name: argument for argument in given}
    host = names.get("--host")
    if "--api-key" in names:
        return
    fix = (
        "The recipe leaves the address out; whoever serves it for others gives "
        "`--host` and sets `VLLM_API_KEY`."
    )
    if host is None:
        yield info(
            "public-bind",
            f"{label}: without `--host`, vLLM answers on every address of the machine.",
            fix,
        )
    elif host.value in {"0.0.0.0", "::"}:  # noqa: S104 - that is the finding
        yield warning(
            "public-bind",
            f"{label}:{host.line}: `{host.shown}` answers on every address of the "
            "machine, and no key is asked for.",
            fix,
        )


def _dangers(given: list[Argument], about: About, label: str) -> Iterator[Finding]:
    """Yield what starts and then goes wrong."""
    for argument in given:
        at = f"{label}:{argument.line}"
        if isinstance(argument.value, dict):
            yield from _gone_keys(argument, at)
        if "deep_gemm_mega_moe" in _strings(argument.value):
            kind = error if about.is_nvfp4 else warning
            yield kind(
                "mega-moe-with-nvfp4",
                f"{at}: `{argument.name}` asks for `deep_gemm_mega_moe`, which reads "
                "NVFP4 experts as MXFP4: it fails, or answers wrongly.",
                "Give `--moe-backend flashinfer_trtllm` on 10.x, or leave it out "
                "(vLLM 0.32.0, fused_moe/oracle/nvfp4.py; vLLM issue 43454).",
            )
        if _asks_for_fp4_indexer(argument):
            yield _indexer(argument, about.machine, at)


def _gone_keys(argument: Argument, at: str) -> Iterator[Finding]:
    value = argument.value
    for (name, key), told in GONE_KEYS.items():
        if name == argument.name and isinstance(value, dict) and key in value:
            yield error(
                "key-not-taken",
                f"{at}: `{name}` has no key `{key}` any more: {told}.",
                "Correct it in the recipe; as it stands, the engine refuses it.",
            )


def _asks_for_fp4_indexer(argument: Argument) -> bool:
    value = argument.value
    if argument.name != "--attention-config" or not isinstance(value, dict):
        return False
    is_on = str(value.get("use_fp4_indexer_cache")).lower() in {"true", "1"}
    return is_on or str(value.get("indexer_kv_dtype")).lower() == "mxfp4"


def _indexer(argument: Argument, machine: Machine, at: str) -> Finding:
    capability = machine.compute_capability
    message = f"{at}: `{argument.name}` asks for an FP4 indexer cache, which only "
    if capability and capability.startswith("12."):
        return error(
            "fp4-indexer-cache",
            f"{message}compute capability 10.x has; sm_{capability.replace('.', '')} "
            "has no such kernel.",
            'Write {"indexer_kv_dtype": "fp8"}.',
        )
    told = "10.x has; the GPU is not said" if capability is None else "10.x has"
    kind = info if capability and capability.startswith("10.") else warning
    return kind(
        "fp4-indexer-cache",
        f"{message}compute capability {told}.",
        "On 12.x, write fp8; `--gpu` says which GPU it is for.",
    )


def _strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_strings(below) for below in value.values()), set())
    if isinstance(value, list):
        return set().union(*(_strings(below) for below in value), set())
    return {str(value)}
