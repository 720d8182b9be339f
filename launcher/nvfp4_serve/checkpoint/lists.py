"""How findings name many modules in one line. Pure."""

from collections.abc import Iterable, Sequence

from nvfp4_serve.checkpoint.evidence import Seen


def count(seen: Iterable[Seen]) -> int:
    return sum(each.group.count for each in seen)


def named(seen: Iterable[Seen]) -> str:
    """Return how many modules there are, and the name of the first."""
    every = tuple(seen)
    number = count(every)
    example = f"`{every[0].group.example}`"
    return (
        f"{number:,} modules ({example}, ...)"
        if number > 1
        else f"1 module ({example})"
    )


def some(words: Sequence[str]) -> str:
    more = len(words) - 8
    return ", ".join(words[:8]) + (f", and {more} more" if more > 0 else "")
