"""Which modules the patterns of a quantization config name. Pure.

ModelOpt's patterns are globs and parts of names; those of compressed-tensors are names,
or regular expressions behind ``re:``. vLLM 0.32.0: ``modelopt.py``
``is_layer_excluded``; compressed-tensors: ``should_ignore_layer``.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from typing import Final

from nvfp4_serve.errors import CheckpointError

_REGEX: Final = "re:"
#: Steps that all regular expressions and names may take together, at the worst. One
#: step of `.*.*.*.*Z` takes 2 ns on an AMD EPYC with Python 3.11, so 4 s.
_MAX_STEPS: Final = 2_000_000_000
#: An escaped character, or a set: neither holds an operator.
_LITERALS: Final = re.compile(r"\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]")
#: A group that is repeated, or a group that is referred to: time without a bound. With
#: the flag `x` blanks may hide one.
_UNBOUNDED: Final = re.compile(r"\)[*+{]|\\[1-9]|\(\?(?:P=|\(|[a-zA-Z]*x)")
_REPEATS: Final = re.compile(r"(?:[*+]|\{[^}]*\}|(?<!\()\?)[?+]?")


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return whether a module is named, as the engine will see it.

    Raises:
        CheckpointError: One is not a regular expression.
    """
    exact: set[str] = set()
    expressions: list[re.Pattern[str]] = []
    for pattern in patterns:
        if pattern.startswith(_REGEX):
            expressions.append(_compiled(pattern.removeprefix(_REGEX)))
        elif "*" in pattern:
            expressions.append(re.compile(translate(pattern)))
        else:
            exact.add(pattern)
    return lambda name: (
        any(expression.match(name) for expression in expressions)
        or not exact.isdisjoint(_paths(name))
    )


def too_slow(patterns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the regular expressions that are not matched, for the time it may take.

    Those with a group that is repeated, and, in their order, all that are left once
    the worst case of those before has used up what is allowed. Globs are translated
    without backtracking, and are never too slow.
    """
    lengths = [len(name) for name in names]
    refused, left = [], _MAX_STEPS
    for pattern in patterns:
        if not pattern.startswith(_REGEX):
            continue
        left -= _worst_steps(pattern.removeprefix(_REGEX), lengths, limit=left)
        if left < 0:
            refused.append(pattern)
    return tuple(refused)


def _worst_steps(expression: str, lengths: list[int], *, limit: int) -> int:
    """Return a bound of the steps that all names take; above ``limit``: too many.

    With ``k`` repeats a name of ``n`` characters is cut in at most ``n + k`` over
    ``k`` ways, each with every choice of the alternatives.
    """
    bare = _LITERALS.sub("x", expression)
    repeats = len(_REPEATS.findall(bare))
    choices = math.prod(1 + part.count("|") for part in bare.split(")"))
    if _UNBOUNDED.search(bare) or repeats > 64 or choices > limit:
        return limit + 1
    ways = sum(math.comb(length + repeats, repeats) for length in lengths)
    return min(choices * ways, limit + 1)


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise CheckpointError(
            "A pattern of the quantization config is not a regular expression.",
            evidence=(f"{expression[:80]}: {error}",),
            fix="Correct `ignore` of `quantization_config`.",
        ) from error


def _paths(name: str) -> Iterator[str]:
    """Yield every run of whole parts: ``a.b.c``, ``a.b``, ``b.c``, ``a``, ..."""
    parts = name.split(".")
    for begin in range(len(parts)):
        for end in range(begin + 1, len(parts) + 1):
            yield ".".join(parts[begin:end])
