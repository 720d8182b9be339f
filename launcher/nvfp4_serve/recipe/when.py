"""The conditions of a recipe: how they are written, and whether they hold. Pure."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.recipe.schema import WhenRow
from nvfp4_serve.recipe.types import Range, Reason, When
from nvfp4_serve.units import GIB, MIB, format_bytes

_ARCHITECTURES: Final = ("x86_64", "aarch64")
_CAPABILITY: Final = re.compile(r"[1-9]\d?\.\d")
_RANGE: Final = re.compile(r"(>=|<=|>|<)?\s*(.+?)")
_UNITS: Final = {"GiB": GIB, "MiB": MIB}

#: What says no to a text: a ValueError with what is wanted.
_Parse = Callable[[str], tuple[int, ...]]


def read_when(row: WhenRow) -> tuple[When, dict[str, str]]:
    """Return the conditions of ``row``, and what is wrong with them, by key."""
    faults: dict[str, str] = {}

    def ranges(key: str, parse: _Parse) -> tuple[Range, ...]:
        try:
            return tuple(_range(word, parse) for word in _words(getattr(row, key)))
        except ValueError as error:
            faults[key] = str(error)
            return ()

    def one_of(
        key: str, holds: Callable[[str], object], wanted: str
    ) -> tuple[str, ...]:
        words = tuple(map(str, _words(getattr(row, key))))
        if wrong := [word for word in words if not holds(word)]:
            faults[key] = f"{wrong[0]!r} is not {wanted}"
        return words

    when = When(
        compute_capability=one_of(
            "compute_capability", _CAPABILITY.fullmatch, 'a number such as "12.1"'
        ),
        gpus=ranges("gpus", _count),
        gpu_memory=ranges("gpu_memory", _bytes),
        unified=row.unified,
        architecture=one_of(
            "architecture", _ARCHITECTURES.__contains__, " or ".join(_ARCHITECTURES)
        ),
        driver=ranges("driver", _version),
        nodes=ranges("nodes", _count),
        vllm=ranges("vllm", _version),
    )
    return when, faults


def _words(value: str | int | list[str | int] | None) -> list[str | int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _range(word: str | int, parse: _Parse) -> Range:
    """Return the range of ``8``, ``>=8``, ``<4`` or ``2..8``.

    Raises:
        ValueError: It is none of them.
    """
    text = str(word).strip()
    low, dots, high = text.partition("..")
    if dots:
        found = Range(text, parse(low.strip()), parse(high.strip()))
        if not found.low or not found.high or found.low > found.high:
            raise ValueError(f"{text!r} ends before it begins")
        return found
    matched = _RANGE.fullmatch(text)
    if not matched:
        raise ValueError("an empty text; write a range such as '>=8'")
    bound = parse(matched[2])
    match matched[1]:
        case ">=" | ">":
            return Range(text, bound, None, low_holds=matched[1] == ">=")
        case "<=" | "<":
            return Range(text, None, bound, high_holds=matched[1] == "<=")
        case _:
            return Range(text, bound, bound)


def _count(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,4}", text):
        raise ValueError(f"{text!r} is not a count such as 8, '>=8', '<4' or '2..8'")
    return (int(text),)


def _bytes(text: str) -> tuple[int, ...]:
    found = re.fullmatch(r"(\d{1,6}) (GiB|MiB)", text)
    if not found:
        raise ValueError(f"{text!r} is not a size such as '>=90 GiB'; MiB will do too")
    return (int(found[1]) * _UNITS[found[2]],)


def _version(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(\.\d+){0,3}", text):
        raise ValueError(f"{text!r} is not a version such as '>=580.95'")
    return tuple(map(int, text.split(".")))


def explain(
    when: When, host: Host, gpus: tuple[Gpu, ...], *, nodes: int, vllm: str
) -> tuple[Reason, ...]:
    """Test every condition of ``when``; never stop at the first miss.

    A reader who is one condition short must see that it is only one.

    Args:
        when: The conditions.
        host: The machine.
        gpus: Those of its GPUs that are of one kind and are to be used.
        nodes: How many such machines there are.
        vllm: The version of the engine.
    """
    return tuple(_reasons(when, host, gpus, nodes=nodes, vllm=vllm))


def _reasons(
    when: When, host: Host, gpus: tuple[Gpu, ...], *, nodes: int, vllm: str
) -> Iterator[Reason]:
    capability = capability_text(gpus[0].compute_capability) if gpus else None
    if when.compute_capability:
        yield _member("compute_capability", when.compute_capability, capability)
    if when.gpus:
        yield _within("gpus", when.gpus, (len(gpus),), str(len(gpus)))
    if when.gpu_memory:
        memory = _memory(host, gpus)
        text = "not known" if memory is None else format_bytes(memory)
        size = None if memory is None else (memory,)
        yield _within("gpu_memory", when.gpu_memory, size, text)
    if when.unified is not None:
        unified = None if not gpus else _yes(gpus[0].integrated)
        yield _member("unified", (_yes(when.unified),), unified)
    if when.architecture:
        yield _member("architecture", when.architecture, host.architecture)
    if when.driver:
        version = _leading(host.driver) if host.driver else None
        yield _within("driver", when.driver, version, host.driver or "none")
    if when.nodes:
        yield _within("nodes", when.nodes, (nodes,), str(nodes))
    if when.vllm:
        yield _within("vllm", when.vllm, _leading(vllm), vllm)


def _memory(host: Host, gpus: tuple[Gpu, ...]) -> int | None:
    if not gpus:
        return None
    return host.memory_total if gpus[0].integrated else gpus[0].memory_total


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _leading(version: str) -> tuple[int, ...]:
    """Return the numbers that ``version`` begins with; ``(0,)`` where it has none."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (0,)


def _member(condition: str, wanted: tuple[str, ...], found: str | None) -> Reason:
    return Reason(found in wanted, condition, ", ".join(wanted), found or "none")


def _within(
    condition: str, wanted: tuple[Range, ...], found: tuple[int, ...] | None, text: str
) -> Reason:
    holds = found is not None and any(one.holds(found) for one in wanted)
    return Reason(holds, condition, ", ".join(one.text for one in wanted), text)
