"""What a recipe says, put together with what the user says. Pure.

Rules give way to a recipe, and a recipe to the user.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan import kinds
from nvfp4_serve.plan.flags import (
    Spellings,
    asked_flags,
    check_flags,
    grouped_words,
    short,
)
from nvfp4_serve.plan.told import CONTEXT, Told, blamed
from nvfp4_serve.plan.types import Request
from nvfp4_serve.plan.wishes import read_wishes
from nvfp4_serve.recipe.choose import choose
from nvfp4_serve.recipe.environment import Variables, check_environment
from nvfp4_serve.recipe.judge import judge, names_of
from nvfp4_serve.recipe.knowledge import Knowledge
from nvfp4_serve.recipe.types import Recipe

_SHARE: Final = "--gpu-memory-utilization"


def take_recipe(
    knowledge: Knowledge, layout: Layout, host: Host, request: Request
) -> Told:
    """Return the recipe for ``layout`` on ``host``, and what is left of it.

    Raises:
        RecipeError: Two are equally good, one contradicts itself, or the one asked
            for is for another checkpoint.
        UsageError: The one asked for does not exist.
    """
    spellings = knowledge.spellings
    chosen = choose(judge(knowledge.recipes, layout, host), request.recipe)
    if chosen.verdict is None:
        return Told(None, host, {}, {}, None, chosen.findings)
    recipe = chosen.verdict.recipe
    check_recipe(recipe, spellings, knowledge.variables)
    yours = dict(request.environment)
    asked = asked_flags(request.extra, spellings)
    if request.max_model_len is not None:
        asked |= {CONTEXT}
    args = {
        name: arg
        for name, arg in recipe.args.items()
        if spellings.get(name, name) not in asked
    }
    told = Told(
        recipe=recipe,
        host=replace(host, gpus=chosen.verdict.gpus),
        context=args.pop(CONTEXT, None),
        args=args,
        variables={n: v for n, v in recipe.env.items() if n not in yours},
        findings=(
            *chosen.findings,
            *_by_name(recipe, layout),
            *_of_revision(recipe, layout),
            *_replaced(recipe, request, spellings, asked),
            *_replaced_variables(recipe, yours),
        ),
    )
    return _with_what_is_free(told, spellings)


def _with_what_is_free(told: Told, spellings: Spellings) -> Told:
    """Leave out the recipe's fraction of the memory, where less than that is free."""
    able = [gpu for gpu in told.host.gpus if kinds.why_unused(gpu) is None]
    for name, arg in told.args.items():
        if spellings.get(name, name) != _SHARE or not able:
            continue
        wanted = float(str(arg.value))
        if any(kinds.has_free(gpu, told.host, wanted) for gpu in able):
            continue
        finding = Finding(
            "recipe-share-not-free",
            Severity.WARNING,
            f"The recipe `{told.id}` takes {wanted:g} of the GPU's memory, and less is "
            "free now; the plan takes what is free.",
            "Free memory to have the recipe's.",
        )
        return replace(told.without(name), findings=(*told.findings, finding))
    return told


def check_recipe(recipe: Recipe, spellings: Spellings, variables: Variables) -> None:
    """Refuse a recipe whose words the engine would not take.

    Raises:
        RecipeError: Two of its arguments are one flag; or a flag, a value or a
            variable is not one of vLLM's.
    """
    with blamed(recipe):
        _check_twice(recipe, spellings)
        _check_context(recipe)
        others = {name: arg for name, arg in recipe.args.items() if name != CONTEXT}
        words = tuple(word for name, arg in others.items() for word in arg.words(name))
        check_flags(words, spellings, "vLLM")
        read_wishes(words, spellings)
        dead = check_environment(
            ((n, v.value) for n, v in recipe.env.items()), variables
        )
        if dead:
            raise UsageError(
                "It sets variables that vLLM does not read.",
                evidence=dead,
                fix="Take them out.",
            )


def _check_context(recipe: Recipe) -> None:
    if CONTEXT not in recipe.args:
        return
    value = recipe.args[CONTEXT].value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"`{CONTEXT}` is {value!r}; it must be a whole number of tokens.",
            fix="Correct it.",
        )


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
    if names.hub or expect.layouts or expect.architectures or expect.schemes:
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


def _replaced_variables(recipe: Recipe, yours: dict[str, str]) -> Iterator[Finding]:
    """Yield that a variable of the user's stands in the place of the recipe's."""
    for name, variable in recipe.env.items():
        if name in yours and yours[name] != variable.value:
            yield Finding(
                "recipe-variable-replaced",
                Severity.INFO,
                f"Your `{name}={yours[name]}` stands in the place of "
                f"`{name}={variable.value}` of the recipe `{recipe.id}`: "
                f"{variable.why}",
                f"Unset `{name}` to have the recipe's.",
            )
