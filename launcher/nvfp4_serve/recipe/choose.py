"""Which of the recipes is taken, and what to say of the others. Pure."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.errors import RecipeError, UsageError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.recipe.types import Reason, Status, Verdict

#: What `--recipe` takes for: rules alone.
NONE: Final = "none"

_SHOW: Final = "`nvfp4-serve recipes MODEL` shows every condition."
_ORDER: Final = tuple(Status)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The recipe that is taken.

    Attributes:
        verdict: On it; None: rules alone.
        findings: What a person should know of the choice.
    """

    verdict: Verdict | None
    findings: tuple[Finding, ...] = ()


def choose(verdicts: Iterable[Verdict], wanted: str | None = None) -> Chosen:
    """Return the recipe to take: the one asked for, or the best that fits.

    The best has the best status; of those, the most conditions; of those, the highest
    rank. The order of files decides nothing. None is taken of several checkpoints that
    one folder may be.

    Args:
        verdicts: Of `judge`, with the checkpoint.
        wanted: A recipe's id, or a file's; ``none``: rules alone; None: the best.

    Raises:
        RecipeError: Two recipes are equally good; or the one asked for is for another
            checkpoint.
        UsageError: There is no recipe of that id.
    """
    judged = tuple(verdicts)
    if wanted == NONE:
        return Chosen(None)
    if wanted is not None:
        return _forced(judged, wanted)
    ours = [verdict for verdict in judged if _is_named(verdict)]
    models = {v.recipe.model_id for v in ours if not _contradicted(v)}
    if len(models) > 1:
        return Chosen(None, (_several(sorted(models)),))
    best = _best([verdict for verdict in ours if verdict.fits])
    if best is not None:
        return Chosen(best)
    return Chosen(None, tuple(_why_none(ours)))


def _is_named(verdict: Verdict) -> bool:
    return all(reason.ok for reason in verdict.reasons if reason.condition == "model")


def _several(models: list[str]) -> Finding:
    """Return that a folder's name is that of several owners' checkpoints."""
    return Finding(
        "recipe-of-several-checkpoints",
        Severity.WARNING,
        f"By its name and its headers this may be {' or '.join(models)}, which have "
        "recipes of their own; none is taken.",
        "Name one with `--recipe ID`, or keep the folder in one that is called as its "
        f"owner: `{models[0]}`.",
    )


def _contradicted(verdict: Verdict) -> tuple[Reason, ...]:
    """Return what the headers say otherwise."""
    return tuple(r for r in verdict.missed if r.condition.startswith("expect."))


def _rank(verdict: Verdict) -> tuple[int, int, int]:
    recipe = verdict.recipe
    return -_ORDER.index(recipe.status), recipe.when.count, recipe.rank


def _best(fitting: list[Verdict]) -> Verdict | None:
    """Return the one of the highest rank.

    Raises:
        RecipeError: There are two.
    """
    if not fitting:
        return None
    top = max(map(_rank, fitting))
    first, *others = [verdict for verdict in fitting if _rank(verdict) == top]
    if others:
        raise RecipeError(
            "Two recipes fit equally well: "
            + " and ".join(f"`{v.recipe.id}`" for v in (first, *others))
            + ".",
            evidence=tuple(
                f"{v.recipe.id}: {v.recipe.status}, {v.recipe.when.count} conditions, "
                f"rank {v.recipe.rank} ({v.recipe.path})"
                for v in (first, *others)
            ),
            fix="Name one with `--recipe ID`; give one of them a higher `rank:`.",
        )
    return first


def _forced(judged: tuple[Verdict, ...], wanted: str) -> Chosen:
    named = [v for v in judged if wanted in {v.recipe.id, _file(v)}]
    verdict = _best([v for v in named if v.fits])
    if verdict is None and len(named) == 1:
        verdict = named[0]
    if verdict is None:
        raise _not_one(judged, named, wanted)
    if wrong := _contradicted(verdict):
        raise RecipeError(
            f"The recipe `{verdict.recipe.id}` is for another checkpoint than this.",
            evidence=tuple(map(miss_text, wrong)),
            fix="Leave `--recipe` out, or give `--recipe none`.",
        )
    return Chosen(verdict, _forced_findings(verdict))


def _not_one(
    judged: tuple[Verdict, ...], named: list[Verdict], wanted: str
) -> UsageError:
    """Return the error for an id that is nobody's, or that of several that miss."""
    if named:
        rows = (f"{v.recipe.id}: {'; '.join(map(miss_text, v.missed))}" for v in named)
        return UsageError(
            f"No variant of the recipe {wanted!r} fits.",
            evidence=tuple(rows),
            fix="Name one of them with its whole id, or give `--recipe none`.",
        )
    ids = sorted({v.recipe.id for v in judged} | {_file(v) for v in judged})
    ours = sorted(v.recipe.id for v in judged if _is_named(v))
    near = difflib.get_close_matches(wanted, ids, n=1)
    return UsageError(
        f"There is no recipe {wanted!r}"
        + (f"; did you mean `{near[0]}`?" if near else "."),
        evidence=tuple(f"of this model: {recipe_id}" for recipe_id in ours),
        fix="`nvfp4-serve recipes` lists them; `--recipe none` plans by rules.",
    )


def _forced_findings(verdict: Verdict) -> tuple[Finding, ...]:
    if verdict.fits:
        return ()
    misses = "; ".join(map(miss_text, verdict.missed))
    return (
        Finding(
            "recipe-forced",
            Severity.WARNING,
            f"The recipe `{verdict.recipe.id}` does not fit: {misses}.",
            "You asked for it; leave `--recipe` out to have the choice made.",
        ),
    )


def _file(verdict: Verdict) -> str:
    return verdict.recipe.id.partition("/")[0]


def _nearest(verdicts: list[Verdict]) -> list[Verdict]:
    """Return those that the fewest conditions are against."""
    fewest = min(len(verdict.missed) for verdict in verdicts)
    return [verdict for verdict in verdicts if len(verdict.missed) == fewest]


def _why_none(ours: list[Verdict]) -> list[Finding]:
    """Return why no recipe is taken, where there are some of this name."""
    if not ours:
        return []
    strange = [verdict for verdict in ours if _contradicted(verdict)]
    if len(strange) == len(ours):
        return [_strange(strange)]
    # Of equally near ones the best; that there are two is no fault here.
    nearest = max(_nearest([v for v in ours if v not in strange]), key=_rank)
    missed = nearest.missed
    if [reason.condition for reason in missed] == ["blocked"]:
        return [
            Finding(
                "recipe-blocked",
                Severity.WARNING,
                f"The recipe `{nearest.recipe.id}` is known not to work here: "
                f"{missed[0].found}",
                f"A plan is made by rules then. {_SHOW}",
            )
        ]
    misses = "; ".join(map(miss_text, missed))
    return [
        Finding(
            "recipe-nearest",
            Severity.INFO,
            f"No recipe fits this machine. The nearest, `{nearest.recipe.id}`, misses "
            f"{misses}.",
            f"A plan is made by rules then. {_SHOW}",
        )
    ]


def _strange(strange: list[Verdict]) -> Finding:
    verdict = strange[0]
    misses = "; ".join(map(miss_text, _contradicted(verdict)))
    return Finding(
        "recipe-for-other-headers",
        Severity.WARNING,
        f"This checkpoint is called as the one of the recipe `{verdict.recipe.id}`, "
        f"and its headers say otherwise: {misses}. The recipe is not used.",
        "Check which checkpoint this is: `nvfp4-serve inspect MODEL`. A plan is "
        "made by rules then.",
    )


def miss_text(reason: Reason) -> str:
    """Return one condition that does not hold, in words."""
    if reason.condition == "blocked":
        return f"blocked: {reason.found.rstrip('.')}"
    return f"{reason.condition}: wanted {reason.wanted}, found {reason.found}"
