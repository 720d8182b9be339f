"""What a recipe says, put together with what the user says. Pure.

Rules give way to a recipe, and a recipe to the user.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError, RecipeError, UsageError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.flags import (
    Spellings,
    asked_flags,
    check_flags,
    grouped_words,
    short,
)
from nvfp4_serve.plan.types import Expect, Reason, Request
from nvfp4_serve.plan.wishes import read_wishes
from nvfp4_serve.recipe.choose import choose
from nvfp4_serve.recipe.judge import judge, names_of
from nvfp4_serve.recipe.types import Arg, Ready, Recipe, Status

#: The launcher's own option; a recipe's value stands where the user gave none.
CONTEXT: Final = "--max-model-len"


@dataclass(frozen=True, slots=True)
class Told:
    """The recipe that is taken, and what is left of it beside the user's words.

    Attributes:
        recipe: None: rules alone.
        host: The machine, with the GPUs that the recipe was held against.
        args: The recipe's arguments that the user did not replace.
        context: Its ``--max-model-len``, where the user gave none.
        findings: What a person should know of it.
    """

    recipe: Recipe | None
    host: Host
    args: dict[str, Arg]
    context: Arg | None
    findings: tuple[Finding, ...]

    @property
    def id(self) -> str | None:
        """The recipe's id."""
        return None if self.recipe is None else self.recipe.id

    @property
    def status(self) -> Status:
        """How a plan with it is known to be right."""
        return Status.INFERRED if self.recipe is None else self.recipe.status

    @property
    def ready(self) -> Ready | None:
        """How long a start takes."""
        return None if self.recipe is None else self.recipe.ready

    @property
    def notes(self) -> tuple[str, ...]:
        """What it says to people."""
        return () if self.recipe is None else self.recipe.notes

    @property
    def words(self) -> tuple[str, ...]:
        """Its arguments as they stand on a command line."""
        return tuple(
            word for name, arg in self.args.items() for word in arg.words(name)
        )

    @property
    def env(self) -> dict[str, str]:
        """Its environment variables."""
        if self.recipe is None:
            return {}
        return {name: variable.value for name, variable in self.recipe.env.items()}

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why each argument and variable of it is there."""
        if self.recipe is None:
            return ()
        flags = (
            Reason(short(" ".join(arg.words(name))), arg.why, self.source(arg.source))
            for name, arg in self.args.items()
        )
        variables = (
            Reason(f"{name}={v.value}", v.why, self.source(v.source))
            for name, v in self.recipe.env.items()
        )
        return (*flags, *variables)

    def source(self, source: str) -> str:
        """Return ``source`` as one that the recipe gives."""
        return f"recipe {self.id}; {source}"

    def without(self, flag: str) -> "Told":
        """Return it without one argument."""
        kept = {name: arg for name, arg in self.args.items() if name != flag}
        return replace(self, args=kept)

    def added_to(self, expect: Expect) -> Expect:
        """Return ``expect`` with what the recipe expects of a right start."""
        if self.recipe is None:
            return expect
        own = self.recipe.expect
        return Expect(
            log_must=tuple(dict.fromkeys((*expect.log_must, *own.log_must))),
            log_must_not=tuple(
                dict.fromkeys((*expect.log_must_not, *own.log_must_not))
            ),
            canary=own.canary or expect.canary,
        )


def take_recipe(
    recipes: tuple[Recipe, ...],
    layout: Layout,
    host: Host,
    request: Request,
    spellings: Spellings,
) -> Told:
    """Return the recipe for ``layout`` on ``host``, and what is left of it.

    Raises:
        RecipeError: Two are equally good, one contradicts itself, or the one asked
            for is for another checkpoint.
        UsageError: The one asked for does not exist.
    """
    chosen = choose(judge(recipes, layout, host), request.recipe)
    if chosen.verdict is None:
        return Told(None, host, {}, None, chosen.findings)
    recipe = chosen.verdict.recipe
    check_recipe(recipe, spellings)
    asked = asked_flags(request.extra, spellings)
    if request.max_model_len is not None:
        asked |= {CONTEXT}
    args = {
        name: arg
        for name, arg in recipe.args.items()
        if spellings.get(name, name) not in asked
    }
    return Told(
        recipe=recipe,
        host=replace(host, gpus=chosen.verdict.gpus),
        context=args.pop(CONTEXT, None),
        args=args,
        findings=(
            *chosen.findings,
            *_by_name(recipe, layout),
            *_of_revision(recipe, layout),
            *_replaced(recipe, request, spellings, asked),
        ),
    )


def with_context(request: Request, told: Told) -> Request:
    """Return ``request`` with the recipe's context, where the user asked for none."""
    if told.context is None or not isinstance(told.context.value, int):
        return request
    return replace(request, max_model_len=told.context.value)


def check_recipe(recipe: Recipe, spellings: Spellings) -> None:
    """Refuse a recipe whose words the engine would not take.

    Raises:
        RecipeError: Two of its arguments are one flag, or a flag or a value is not
            one of vLLM's.
    """
    with blamed(recipe):
        _check_twice(recipe, spellings)
        _check_context(recipe)
        others = {name: arg for name, arg in recipe.args.items() if name != CONTEXT}
        words = tuple(word for name, arg in others.items() for word in arg.words(name))
        check_flags(words, spellings, "vLLM")
        read_wishes(words, spellings)


def _check_context(recipe: Recipe) -> None:
    if CONTEXT not in recipe.args:
        return
    value = recipe.args[CONTEXT].value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"`{CONTEXT}` is {value!r}; it must be a whole number of tokens.",
            fix="Correct it.",
        )


@contextmanager
def blamed(recipe: Recipe) -> Iterator[None]:
    """Say of a word that cannot be passed on whose word it is."""
    try:
        yield
    except (UsageError, DoesNotFitError) as error:
        raise RecipeError(
            f"The recipe `{recipe.id}` cannot be used: {error.problem}",
            evidence=(*error.evidence, recipe.path),
            fix="Correct the recipe; `--recipe none` plans by rules alone.",
        ) from error


@contextmanager
def with_findings(told: Told) -> Iterator[None]:
    """Say of a plan that does not fit which recipe it has, or why it has none."""
    try:
        yield
    except DoesNotFitError as error:
        lines = [finding.message for finding in told.findings]
        fix = error.fix
        if told.recipe is not None:
            lines.append(f"recipe {told.id}: {' '.join(told.words)}")
            fix += " `--recipe none` plans by rules alone."
        raise DoesNotFitError(
            error.problem, evidence=(*error.evidence, *lines), fix=fix
        ) from error


def _check_twice(recipe: Recipe, spellings: Spellings) -> None:
    """Refuse two arguments of a recipe's that are spellings of one flag."""
    seen: dict[str, str] = {}
    for name in recipe.args:
        flag = spellings.get(name, name)
        if flag in seen:
            raise UsageError(
                f"`{seen[flag]}` and `{name}` are one flag.", fix="Keep one of them."
            )
        seen[flag] = name


def _by_name(recipe: Recipe, layout: Layout) -> Iterator[Finding]:
    """Yield that nothing but a folder's name says that the recipe is for it."""
    expect = recipe.expect
    names = names_of(layout)
    if names.hub or expect.layouts or expect.architecture or expect.schemes:
        return
    if names.are(recipe.model_id):
        yield Finding(
            "recipe-by-name-alone",
            Severity.INFO,
            f"The recipe `{recipe.id}` is taken because the folder is called "
            f"`{names.text}`; it says nothing of the headers.",
            f"If this is not {recipe.model_id}, give `--recipe none`.",
        )


def _of_revision(recipe: Recipe, layout: Layout) -> Iterator[Finding]:
    """Yield that the checkpoint is of another commit than the recipe's."""
    if recipe.revision and layout.revision and recipe.revision != layout.revision:
        yield Finding(
            "recipe-of-another-revision",
            Severity.INFO,
            f"The recipe `{recipe.id}` was made for revision {recipe.revision}, and "
            f"this is {layout.revision}.",
            f"`--revision {recipe.revision}` serves the recipe's.",
        )


def _replaced(
    recipe: Recipe, request: Request, spellings: Spellings, asked: frozenset[str]
) -> Iterator[Finding]:
    """Yield that the user's words stand in the place of the recipe's."""
    for name, arg in recipe.args.items():
        flag = spellings.get(name, name)
        if flag not in asked:
            continue
        yours = [
            " ".join(group)
            for group in grouped_words(request.extra)
            if flag in asked_flags(tuple(group), spellings)
        ] or [f"{CONTEXT} {request.max_model_len}"]
        yield Finding(
            "recipe-argument-replaced",
            Severity.INFO,
            f"Your `{short(' '.join(yours))}` stands in the place of "
            f"`{short(' '.join(arg.words(name)))}` of the recipe `{recipe.id}`: "
            f"{arg.why}",
            f"Leave `{name}` out to have the recipe's.",
        )
