"""Foreign text -> a recipe of ours, and everything that is wrong with it.

Nothing of the text is run. Nothing that looks like a secret leaves this module.
"""

import json
import re
from dataclasses import dataclass, field, replace
from typing import Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.recipe.foreign.arguments import (
    Argument,
    Arguments,
    read_arguments,
)
from nvfp4_serve.recipe.foreign.check_around import (
    check_environment,
    check_image,
    check_revision,
)
from nvfp4_serve.recipe.foreign.check_flags import check_flags
from nvfp4_serve.recipe.foreign.command import read_command
from nvfp4_serve.recipe.foreign.compose import read_compose
from nvfp4_serve.recipe.foreign.dangers import About
from nvfp4_serve.recipe.foreign.detect import LACKING, Form, form_of, looks_like_command
from nvfp4_serve.recipe.foreign.document import Imported
from nvfp4_serve.recipe.foreign.eugr import read_eugr
from nvfp4_serve.recipe.foreign.flags import Flags
from nvfp4_serve.recipe.foreign.rendered import (
    is_rendered,
    read_rendered,
    words_launch,
)
from nvfp4_serve.recipe.foreign.secrets import redact, secrets_in
from nvfp4_serve.recipe.foreign.sparkrun import read_sparkrun
from nvfp4_serve.recipe.foreign.types import Launch, Machine
from nvfp4_serve.recipe.foreign.unsaid import told_secrets, without_secrets
from nvfp4_serve.recipe.foreign.vllm_recipes import Asked, read_vllm_recipes
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml, parse_foreign

#: Bytes. The longest recipe that was seen has 30 KiB.
LONGEST: Final = 1 << 20
_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_ORDER: Final = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user says of the recipe.

    Attributes:
        form: The format; None: find out.
        model: The Hub id, where the text names a folder.
        machine: The machine that it is wanted for.
        asked: Which variant of several.
    """

    form: Form | None = None
    model: str | None = None
    machine: Machine = field(default_factory=Machine)
    asked: Asked = field(default_factory=Asked)


def read_foreign(raw: bytes, label: str, wanted: Wanted, flags: Flags) -> Imported:
    """Return what a foreign text says, in our words.

    Args:
        raw: The text; no more than `LONGEST` bytes and one are looked at.
        label: The file, for messages.
        wanted: What the user says of it.
        flags: What the pinned vLLM takes.

    Raises:
        RecipeError: It cannot be read; the message repeats no secret.
    """
    text = _decoded(raw, label)
    secrets = secrets_in(text)
    try:
        form, launch = _launch(text, label, wanted)
        arguments = read_arguments(launch.words, flags)
        secrets |= told_secrets(launch, arguments)
        imported = _imported(form, launch, label, (arguments, wanted, flags))
    except RecipeError as error:
        raise RecipeError(
            redact(error.problem, secrets),
            evidence=tuple(redact(line, secrets) for line in error.evidence),
            fix=redact(error.fix, secrets),
        ) from None
    return with_findings(without_secrets(imported, secrets))


def _decoded(raw: bytes, label: str) -> str:
    if len(raw) > LONGEST:
        raise RecipeError(
            f"{label} is over {LONGEST >> 20} MiB long; no recipe is.",
            fix="Give the recipe alone.",
        )
    if b"\0" in raw:
        raise RecipeError(f"{label} is no text.", fix="Give a recipe or a command.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{label} is no text in UTF-8: byte {error.start} is no part of it.",
            fix="Give a recipe or a command, as UTF-8.",
        ) from error
    if not text.strip():
        raise RecipeError(f"{label} is empty.", fix="Give a recipe or a command.")
    return text


def _launch(text: str, label: str, wanted: Wanted) -> tuple[Form, Launch]:
    machine = wanted.machine
    data = None if wanted.form is Form.COMMAND else _json(text)
    if isinstance(data, dict) and is_rendered(data):
        return Form.VLLM_RECIPES, read_rendered(data, label, machine)
    if isinstance(data, list) and data and all(isinstance(item, str) for item in data):
        launch = words_launch(data, label)
        return Form.COMMAND, replace(launch, machine=machine)
    is_command = wanted.form is None and looks_like_command(text)
    if wanted.form is Form.COMMAND or is_command:
        return Form.COMMAND, _command(text, label, machine)
    source = _yaml(text, label, wanted)
    form = wanted.form or form_of(source, label)
    if not isinstance(source.data, dict):
        raise RecipeError(f"{label} is no mapping.", fix=f"Give a {form} file.")
    return form, _of_yaml(form, source, label, wanted)


def _yaml(text: str, label: str, wanted: Wanted) -> ForeignYaml:
    try:
        return parse_foreign(text, label)
    except RecipeError as error:
        if wanted.form is not None:
            raise
        raise RecipeError(
            error.problem, evidence=(*error.evidence, *LACKING), fix=error.fix
        ) from error


def _of_yaml(form: Form, source: ForeignYaml, label: str, wanted: Wanted) -> Launch:
    if form is Form.VLLM_RECIPES:
        return read_vllm_recipes(source, label, wanted.machine, wanted.asked)
    readers = {
        Form.SPARKRUN: read_sparkrun,
        Form.EUGR: read_eugr,
        Form.COMPOSE: read_compose,
    }
    return readers[form](source, label, wanted.machine)


def _command(text: str, label: str, machine: Machine) -> Launch:
    return replace(read_command(text, label), machine=machine)


def _json(text: str) -> object:
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _imported(
    form: Form,
    launch: Launch,
    label: str,
    rest: tuple[Arguments, Wanted, Flags],
) -> Imported:
    arguments, wanted, flags = rest
    launch = _with_revision(launch, arguments)
    model = _model(launch, arguments, label, wanted)
    about = About(launch.machine, _is_nvfp4(model, arguments), launch.is_published)
    kept, findings = check_flags(arguments, flags, about, label)
    environment, around = check_environment(launch, label)
    told = (
        *launch.findings,
        *findings,
        *around,
        *check_image(launch, label),
        *check_revision(launch, model, label),
    )
    return Imported(
        form=form,
        label=label,
        model=model,
        launch=launch,
        arguments=kept,
        environment=environment,
        findings=told,
    )


def _with_revision(launch: Launch, arguments: Arguments) -> Launch:
    """Take ``--revision`` out of the flags: the recipe has a place for it."""
    revision = launch.revision
    rest: list[Argument] = []
    for argument in arguments.given:
        if argument.name == "--revision" and isinstance(argument.value, str):
            revision = argument.value
        else:
            rest.append(argument)
    arguments.given = rest
    return replace(launch, revision=revision)


def _model(launch: Launch, arguments: Arguments, label: str, wanted: Wanted) -> str:
    """Return the Hub id of the model.

    Raises:
        RecipeError: The text names none, and the user neither.
    """
    named = arguments.model.text if arguments.model else None
    for candidate in (wanted.model, named, launch.model):
        if candidate and _ID.fullmatch(candidate):
            return candidate
    found = named or launch.model
    raise RecipeError(
        f"{label}: the model is `{found}`, which is no id on the Hub."
        if found
        else f"{label} names no model.",
        fix="Name it with `--model OWNER/NAME`; a recipe is for a model of the Hub.",
    )


def _is_nvfp4(model: str, arguments: Arguments) -> bool:
    told = {
        argument.name: str(argument.value).lower() for argument in arguments.given
    }.get("--quantization", "")
    return "fp4" in model.lower() or "fp4" in told or told == "modelopt_mixed"


def with_findings(imported: Imported, more: tuple[Finding, ...] = ()) -> Imported:
    """Return it with more findings; the worst come first."""
    findings = (*imported.findings, *more)
    by_severity = sorted(findings, key=lambda found: _ORDER[found.severity])
    return replace(imported, findings=tuple(by_severity))


def worst(findings: tuple[Finding, ...]) -> Severity | None:
    """Return the worst severity among ``findings``, or None: there are none."""
    return min((f.severity for f in findings), key=_ORDER.__getitem__, default=None)
