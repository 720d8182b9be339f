"""Recipe files -> recipes. Reads files of ours; `lint` checks what they say."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.forbidden import why_no_flag, why_no_variable
from nvfp4_serve.recipe.schema import ArgRow, Base, File, ReadyRow, VariableRow, Variant
from nvfp4_serve.recipe.strict import Fault, Path_, did_you_mean
from nvfp4_serve.recipe.types import (
    Arg,
    Expected,
    Ready,
    Recipe,
    Status,
    Variable,
)
from nvfp4_serve.recipe.when import read_when
from nvfp4_serve.recipe.yaml_files import Document, convert, parse_yaml, read_bytes
from nvfp4_serve.resources import data_folder

#: `inferred` is what a plan without a recipe is.
_STATUSES: Final = tuple(status for status in Status if status is not Status.INFERRED)
#: Data files of ours that lie beside the recipes and are none.
_OTHERS: Final = frozenset({"known-bad.yaml"})


def recipe_files(folder: Path | None = None) -> tuple[Path, ...]:
    """Return the recipe files in ``folder``, or our own, by name.

    Raises:
        FileNotFoundError: The installation is broken.
    """
    where = folder or data_folder("recipes")
    return tuple(p for p in sorted(where.glob("*.yaml")) if p.name not in _OTHERS)


def load_recipes(folder: Path | None = None) -> tuple[Recipe, ...]:
    """Return every recipe of every file in ``folder``, or of our own.

    Raises:
        RecipeError: With every fault of every file.
    """
    return _load(recipe_files(folder))


def load_recipes_for(
    names: Iterable[str], folder: Path | None = None, *, file: str | None = None
) -> tuple[Recipe, ...]:
    """Return the recipes of the files that may be for a model; the rest is not parsed.

    Args:
        names: What the model may be called: the last part of a Hub id, or a folder.
        folder: Where the files are; None: our own.
        file: The id of one more file.

    Raises:
        RecipeError: With every fault of the files that were parsed.
    """
    # Every file says `owner/name` somewhere; a raw search costs a hundredth of parsing.
    wanted = [f"/{name}".casefold().encode() for name in names if name]
    return _load(
        path
        for path in recipe_files(folder)
        if path.stem == file or _mentions(read_bytes(path).lower(), wanted)
    )


def _mentions(raw: bytes, wanted: list[bytes]) -> bool:
    return any(name in raw for name in wanted)


def _load(paths: Iterable[Path]) -> tuple[Recipe, ...]:
    recipes: list[Recipe] = []
    errors: list[RecipeError] = []
    for path in paths:
        try:
            recipes += load_recipe_file(path)
        except RecipeError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise RecipeError(
            f"{len(errors)} recipe files are not right.",
            evidence=tuple(
                line for error in errors for line in (error.problem, *error.evidence)
            ),
            fix=errors[0].fix,
        )
    return tuple(recipes)


def load_recipe_file(path: Path) -> tuple[Recipe, ...]:
    """Return the recipes of one file.

    Raises:
        RecipeError: With every fault, its line and its key.
    """
    return read_recipe_file(path).recipes


class Read(NamedTuple):
    """A recipe file, for what else may be wrong with it."""

    recipes: tuple[Recipe, ...]
    file: File
    document: Document


def read_recipe_file(path: Path) -> Read:
    """Return the recipes of one file, and the file itself.

    Raises:
        RecipeError: With every fault, its line and its key.
    """
    document = parse_yaml(read_bytes(path), str(path))
    file = convert(document, File)
    faults: list[Fault] = []
    if path.stem != file.id:
        faults.append((("id",), f"it is {file.id!r}, and the file {path.name!r}"))
    faults += _ids_twice(file)
    faults += _forbidden(("base",), file.base)
    recipes = tuple(
        _flatten(file, index, path, faults) for index in range(len(file.variants))
    )
    if faults:
        raise document.error(faults)
    return Read(recipes, file, document)


def _ids_twice(file: File) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, variant in enumerate(file.variants):
        if variant.id in seen:
            yield ("variants", index, "id"), f"{variant.id!r} stands twice"
        seen.add(variant.id)


def _forbidden(here: Path_, rows: Base | Variant) -> Iterator[Fault]:
    """Yield what no recipe may say, whoever wrote it."""
    for name, row in rows.args.items():
        if why := why_no_flag(name, row.value):
            yield (*here, "args", name), why
    for name in rows.env:
        if why := why_no_variable(name):
            yield (*here, "env", name), why


def _flatten(file: File, index: int, path: Path, faults: list[Fault]) -> Recipe:
    """Return a variant with what the file says of every one; add what is wrong."""
    variant = file.variants[index]
    here: Path_ = ("variants", index)
    faults += _forbidden(here, variant)
    when, wrong = read_when(variant.when)
    faults += [((*here, "when", key), text) for key, text in wrong.items()]
    faults += [
        ((*here, *inner), text) for inner, text in _faults_of(file, variant, path)
    ]
    at: Path_ = (*here, "status")
    status = variant.status
    if status is None:
        status, at = file.status, ("status",)
    if status not in _STATUSES:
        known = ", ".join(_STATUSES)
        near = did_you_mean(status, _STATUSES)
        faults.append((at, f"{status!r} is none of {known}{near}"))
    canary = variant.expect.canary
    return Recipe(
        id=f"{file.id}/{variant.id}",
        model_id=file.model.id,
        revision=file.model.revision,
        weight_bytes=file.model.weight_bytes,
        model_source=file.model.source,
        status=Status(status) if status in _STATUSES else Status.IMPORTED,
        when=when,
        args=_args(file.base.args, variant),
        env=_env(file.base.env, variant),
        expect=Expected(
            layouts=file.expect.layouts,
            architectures=_one_or_more(file.expect.architecture),
            schemes=file.expect.schemes,
            log_must=variant.expect.log_must,
            log_must_not=variant.expect.log_must_not,
            canary=None if canary is None else str(path.parent / canary),
        ),
        ready=_ready(variant.ready),
        evidence=variant.evidence,
        notes=variant.notes,
        blocked=variant.blocked,
        rank=variant.rank,
        path=str(path),
    )


def _faults_of(file: File, variant: Variant, path: Path) -> Iterator[Fault]:
    """Yield what is wrong with a variant, by its path in it."""
    for name in variant.unset:
        if name in variant.args or name in variant.env:
            yield ("unset",), f"`{name}` is unset and set"
        elif name not in file.base.args and name not in file.base.env:
            near = did_you_mean(name, [*file.base.args, *file.base.env])
            yield ("unset",), f"`{name}` is not in `base`{near}"
    if variant.ready and variant.ready == ReadyRow(variant.ready.source):
        yield ("ready",), "neither `cold_seconds` nor `warm_seconds` is said"
    folder = path.parent
    for text in variant.evidence:
        if not _is_beside(folder, text):
            yield ("evidence",), f"{text!r} is no file under the recipe's folder"
    canary = variant.expect.canary
    if canary is not None and not _is_beside(folder, canary):
        yield ("expect", "canary"), f"{canary!r} is no file under the recipe's folder"
    if (variant.status or file.status) == Status.VERIFIED and not variant.evidence:
        yield ("evidence",), "what is `verified` names a file that shows it"


def _is_beside(folder: Path, text: str) -> bool:
    path = PurePosixPath(text)
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and (folder / path).is_file()


def _one_or_more(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def _args(base: dict[str, ArgRow], variant: Variant) -> dict[str, Arg]:
    rows = {**base, **variant.args}
    return {
        name: Arg(row.value, row.why, row.source)
        for name, row in rows.items()
        if name not in variant.unset
    }


def _env(base: dict[str, VariableRow], variant: Variant) -> dict[str, Variable]:
    rows = {**base, **variant.env}
    return {
        name: Variable(row.value, row.why, row.source)
        for name, row in rows.items()
        if name not in variant.unset
    }


def _ready(row: ReadyRow | None) -> Ready | None:
    if row is None:
        return None
    return Ready(row.cold_seconds, row.warm_seconds, row.source)
