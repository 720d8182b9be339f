"""Which rows of ``rules.yaml`` hold in a situation, and which of them decides. Pure."""

from dataclasses import dataclass

from nvfp4_serve.recipe.backend_rules import BackendRules, Row, When, words_of
from nvfp4_serve.recipe.ranges import version_in
from nvfp4_serve.resources import VLLM_VERSION


@dataclass(frozen=True, slots=True)
class Situation:
    """What the conditions of a row are held against; the names are those of `When`."""

    capability: tuple[int, int]
    experts: str | None
    linear: str | None
    draft: str | None
    layout: str
    activation: str | None
    attention: str
    kv_cache: str
    gated: bool | None
    swiglu_limit: bool | None
    expert_parallel: bool
    vision: bool
    unified: bool
    uneven: bool
    many: bool


def holds(when: When, situation: Situation) -> bool:
    """Return whether every condition of a row is met."""
    for name, wanted in when.given.items():
        if name == "capability":
            met = any(_is_one(word, situation) for word in words_of(when.capability))
        elif name == "vllm":
            met = version_in(str(wanted), VLLM_VERSION)
        elif isinstance(wanted, bool):
            met = getattr(situation, name) is wanted
        else:
            met = getattr(situation, name) in words_of(getattr(when, name))
        if not met:
            return False
    return True


def deciding(rules: BackendRules, situation: Situation, name: str) -> tuple[Row, ...]:
    """Return the rows of the highest rank that hold and say something of a field."""
    held = [
        row
        for row in rules.rows
        if row.says(name) not in (None, {}) and holds(row.when, situation)
    ]
    best = max((row.when.rank for row in held), default=0)
    return tuple(row for row in held if row.when.rank == best)


def _is_one(word: str, situation: Situation) -> bool:
    major, minor = situation.capability
    return word in (f"{major}.{minor}", f"{major}.x")
