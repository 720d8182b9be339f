"""Values of the user's flags that the engine refuses, or that undo each other. Pure.

vLLM's parser takes the last of two values without a word; who wrote both meant one.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.flags import Spellings, flag_name, grouped_words
from nvfp4_serve.recipe.flags import Flag, as_vllm_reads

_WANTING: Final = ("one", "many")
_FIX: Final = "Give each flag once, with a value that it takes."


def check_values(
    words: tuple[str, ...], flags: Mapping[str, Flag], spellings: Spellings
) -> None:
    """Refuse words whose values contradict each other, or that the flag does not take.

    Args:
        words: Those after ``--``; every flag is one of ``spellings``.
        flags: What the engine's parser says of each flag.
        spellings: Every spelling of a flag to its name.

    Raises:
        UsageError: With all of them.
    """
    given: defaultdict[str, dict[str, None]] = defaultdict(dict)
    bare: list[tuple[str, str]] = []
    for first, *rest in grouped_words(words):
        head, equals, glued = first.partition("=")
        name = spellings.get(flag_name(head), flag_name(head))
        _, dot, key = head.partition(".")
        said = f"{name}.{key}" if dot and not head.startswith("-O") else name
        if head.startswith("-O") and len(head) > 2:
            equals, glued = "=", glued or head[2:]
        text = " ".join([glued, *rest] if equals else rest)
        is_off = flag_name(head).startswith("--no-") and not text
        given[said][text or ("off" if is_off else "on")] = None
        is_bare = not equals and not rest and name in flags
        if is_bare and flags[name].takes_value in _WANTING:
            bare.append((f"`{first}` lacks its value.", "vLLM would not start."))
    faults = bare or [
        fault
        for name, texts in given.items()
        for fault in _faults(name, tuple(texts), flags.get(name))
    ]
    if len(faults) == 1:
        raise UsageError(faults[0][0], evidence=(faults[0][1],), fix=_FIX)
    if faults:
        raise UsageError(
            f"{len(faults)} flags after `--` cannot be passed on.",
            evidence=tuple(f"{problem} {more}" for problem, more in faults),
            fix=_FIX,
        )


def _faults(
    name: str, texts: tuple[str, ...], flag: Flag | None
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and what more is to be said of it."""
    if len(texts) > 1:
        given = " and ".join(map(repr, texts))
        yield f"`{name}` is given as {given}.", "vLLM would take the last of them."
    if flag is None or flag.takes_value != "one" or not flag.choices:
        return
    choices = {_plain(choice): choice for choice in flag.choices}
    for text in texts:
        if as_vllm_reads(name, text) not in flag.choices:
            near = difflib.get_close_matches(_plain(text), choices, n=1)
            meant = f"did you mean `{choices[near[0]]}`?" if near else None
            takes = f"it takes {', '.join(flag.choices)}"
            yield f"`{name}` does not take {text!r}.", meant or takes


def _plain(text: str) -> str:
    """Return the text for a hint: in no case, ``-`` and ``_`` the same."""
    return text.casefold().replace("-", "_")
