"""The conditions of sparkrun's ``overrides.when`` against a machine. Pure.

Source:
    sparkrun 0.4.2, ``core/recipe_overrides.py``: keys, operators, and that what
    cannot be told does not hold.
"""

from dataclasses import dataclass
from typing import Any, Final

from nvfp4_serve.recipe.foreign.types import Machine

_SIZES: Final = {
    "tp": "tensor_parallel",
    "pp": "pipeline_parallel",
    "dp": "data_parallel",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds, and why."""

    holds: bool
    why: str


def applies(when: dict[str, Any], machine: Machine, data: dict[str, Any]) -> Verdict:
    """Return whether every condition of ``when`` holds on ``machine``.

    Args:
        when: As the recipe has it.
        machine: What is known of the machine.
        data: The recipe, for ``config``: it is read as it is before any override.
    """
    if not when:
        return Verdict(holds=False, why="it has no condition")
    defaults = data.get("defaults")
    config = defaults if isinstance(defaults, dict) else {}
    for key, wanted in when.items():
        if key == "config" and isinstance(wanted, dict):
            for name, value in wanted.items():
                if not _holds(value, config.get(name), absent=True):
                    return Verdict(False, f"`{name}` is {config.get(name)}")
            continue
        found = _found(key, machine, config)
        if found is None:
            return Verdict(False, f"`{key}` is not known here")
        if not _holds(wanted, found, absent=False):
            return Verdict(False, f"`{key}` is {found}")
    return Verdict(holds=True, why="every condition holds")


def _found(key: str, machine: Machine, config: dict[str, Any]) -> object:
    capability = machine.compute_capability
    known: dict[str, Any] = {
        "nodes": machine.nodes,
        "gpus_per_node": machine.gpus,
        "arch": f"sm_{capability.replace('.', '')}" if capability else None,
        "runtime_family": "vllm",
        "vendor": "nvidia",
    }
    if key in _SIZES:
        return config.get(_SIZES[key], 1)
    return known.get(key)


def _holds(wanted: object, found: object, *, absent: bool) -> bool:
    if isinstance(wanted, dict):
        return all(_operator(op, value, found, absent) for op, value in wanted.items())
    return _operator("in" if isinstance(wanted, list) else "eq", wanted, found, absent)


def _operator(op: str, wanted: object, found: object, absent: bool) -> bool:
    if found is None:
        return absent and op in {"ne", "not_in"}
    if op in {"eq", "ne", "in", "not_in"}:
        several = wanted if isinstance(wanted, list) else [wanted]
        is_in = any(_same(value, found) for value in several)
        return is_in if op in {"eq", "in"} else not is_in
    return _ordered(op, wanted, found)


def _ordered(op: str, wanted: object, found: object) -> bool:
    try:
        first, second = float(str(found)), float(str(wanted))
    except (TypeError, ValueError):
        return False
    return {
        "gt": first > second,
        "gte": first >= second,
        "lt": first < second,
        "lte": first <= second,
    }.get(op, False)


def _same(wanted: object, found: object) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(found, int | float):
        try:
            return float(str(wanted)) == found
        except (TypeError, ValueError):
            return False
    return _plain(wanted) == _plain(found)


def _plain(value: object) -> str:
    """Return one spelling for ``sm_121``, ``sm121``, ``12.1`` and 121."""
    text = str(value).strip().lower().removeprefix("sm").removeprefix("_")
    return text.replace(".", "") if text.replace(".", "").isdigit() else text
