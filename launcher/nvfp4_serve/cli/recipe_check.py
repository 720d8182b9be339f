"""What is wrong with recipe files: for those who write them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.plan.recipes import check_recipe
from nvfp4_serve.recipe.environment import Variables, read_variables
from nvfp4_serve.recipe.flags import Flag, read_flags, spellings_of
from nvfp4_serve.recipe.lint import lint_file, lint_machines
from nvfp4_serve.recipe.load import Read, read_recipe_file, recipe_files


def check_recipes(files: tuple[Path, ...], hosts: Path | None) -> None:
    """Print that the recipes of ``files``, or of ours, are right.

    Args:
        files: Empty: all of ours.
        hosts: A folder of facts files, to hold the conditions against.

    Raises:
        RecipeError: With everything that is wrong with any of them.
        HostError: A facts file is not right.
    """
    paths = files or recipe_files()
    faults: list[str] = []
    read: list[Read] = []
    for path in paths:
        try:
            read.append(read_recipe_file(path))
        except RecipeError as error:
            faults += [error.problem, *(f"  {line}" for line in error.evidence)]
    flags, variables = read_flags(), read_variables()
    for one in read:
        faults += _faults_of(one, flags, variables)
    if hosts is not None:
        faults += _of_machines(read, _hosts(hosts))
    if faults:
        raise RecipeError(
            f"{len(paths)} recipe files were checked, and not all is right.",
            evidence=tuple(faults),
            fix="Correct these lines; `docs/recipes.md` says what a recipe may say.",
        )
    count = sum(len(one.recipes) for one in read)
    click.echo(f"{count} recipes in {len(paths)} files are right")


def _faults_of(
    read: Read, flags: Mapping[str, Flag], variables: Variables
) -> Iterator[str]:
    if faults := list(lint_file(read.file, flags, variables)):
        error = read.document.error(faults)
        yield error.problem
        yield from (f"  {line}" for line in error.evidence)
        return
    # What the flags file cannot say: values that must be numbers, one flag twice.
    spellings = spellings_of(flags)
    for recipe in read.recipes:
        try:
            check_recipe(recipe, spellings, variables)
        except RecipeError as wrong:
            yield wrong.problem
            yield from (f"  {line}" for line in wrong.evidence)


def _of_machines(read: list[Read], hosts: Mapping[str, Host]) -> Iterator[str]:
    every = [recipe for one in read for recipe in one.recipes]
    for recipe, text in lint_machines(every, hosts):
        yield f"{recipe.path}: {recipe.id}: {text}"


def _hosts(folder: Path) -> dict[str, Host]:
    return {path.stem: read_facts(path) for path in sorted(folder.glob("*.json"))}
