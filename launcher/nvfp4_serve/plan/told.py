"""A recipe as the plan takes it: what is left of it beside the user's words. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.errors import DoesNotFitError, RecipeError, UndecidedError, UsageError
from nvfp4_serve.finding import Finding
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.flags import short
from nvfp4_serve.plan.types import Expect, Reason, Request
from nvfp4_serve.recipe.types import Arg, Ready, Recipe, Status, Variable

#: The launcher's own option; a recipe's value stands where the user gave none.
CONTEXT: Final = "--max-model-len"


@dataclass(frozen=True, slots=True)
class Told:
    """The recipe that is taken, and what is left of it beside the user's words.

    Attributes:
        recipe: None: rules alone.
        host: The machine, with the GPUs that the recipe was held against.
        args: The recipe's arguments that the user did not replace.
        variables: Its environment variables that the user has not set.
        context: Its ``--max-model-len``, where the user gave none.
        findings: What a person should know of it.
    """

    recipe: Recipe | None
    host: Host
    args: dict[str, Arg]
    variables: dict[str, Variable]
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
        return {name: variable.value for name, variable in self.variables.items()}

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why each argument and variable of it is there."""
        flags = (
            Reason(short(" ".join(arg.words(name))), arg.why, self.source(arg.source))
            for name, arg in self.args.items()
        )
        variables = (
            Reason(f"{name}={v.value}", v.why, self.source(v.source))
            for name, v in self.variables.items()
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


def with_context(request: Request, told: Told) -> Request:
    """Return ``request`` with the recipe's context, where the user asked for none."""
    if told.context is None or not isinstance(told.context.value, int):
        return request
    return replace(request, max_model_len=told.context.value)


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
    except (DoesNotFitError, UndecidedError) as error:
        lines = [finding.message for finding in told.findings]
        fix = error.fix
        if told.recipe is not None:
            lines.append(f"recipe {told.id}: {' '.join(told.words)}")
            fix += " `--recipe none` plans by rules alone."
        raise type(error)(
            error.problem, evidence=(*error.evidence, *lines), fix=fix
        ) from error
