"""The arguments that `serve` and `plan` share, and the way from them to a Plan."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.facts import read_facts_of
from nvfp4_serve.checkpoint.types import Checkpoint, Layout
from nvfp4_serve.cli.report import refuse
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.recipe.choose import NONE
from nvfp4_serve.recipe.environment import NOT_VLLMS
from nvfp4_serve.recipe.judge import names_of
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.recipe.load import load_recipes, load_recipes_for
from nvfp4_serve.recipe.types import Recipe


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands on the command line of `serve` and `plan`."""

    model: str
    revision: str | None
    request: Request
    checkpoint_facts: Path | None = None


def model_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command MODEL, the options of a request, and the words after ``--``.

    The command reads them with `asked`, from the parameters of its context.
    """
    for decorate in reversed(_ARGUMENTS):
        command = decorate(command)
    return command


def asked(context: click.Context) -> Asked:
    """Return what stands on the command line of a `model_arguments` command."""
    given = context.params
    return Asked(
        model=given["model"],
        revision=given["revision"],
        request=Request(
            host=given["host"],
            port=given["port"],
            served_model_name=given["served_model_name"],
            max_model_len=given["max_model_len"],
            extra=given["vllm_flags"],
            allowed=given["allow_known_bad"],
            recipe=given["recipe"],
            environment=_inherited(os.environ),
        ),
        checkpoint_facts=given.get("checkpoint_facts"),
    )


def _inherited(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables that the engine gets and heeds; no secret.

    Without those that Kubernetes sets beside a service that is called ``vllm``.
    """
    return tuple(
        sorted(
            (name, value)
            for name, value in environment.items()
            if name.startswith(_HEEDED) and name not in _KEPT_BACK
            if not NOT_VLLMS.fullmatch(name)
        )
    )


_HEEDED = ("VLLM_", "FLASHINFER_", "NCCL_")

#: A secret; what would serve another model than the one that was read, or leave out our
#: plugin; and what Kubernetes gives every pod beside a service called `vllm`.
_KEPT_BACK = frozenset(
    {
        *("VLLM_API_KEY", "VLLM_MODEL_REDIRECT_PATH", "VLLM_USE_MODELSCOPE"),
        *("VLLM_PLUGINS", "VLLM_PORT"),
    }
)

facts_option = click.option(
    "--facts",
    type=click.Path(path_type=Path),
    help="Take the machine that this file describes, not this one.",
)

checkpoint_facts_option = click.option(
    "--checkpoint-facts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take MODEL as this file describes it; nothing is read of it or asked.",
)

_ARGUMENTS = (
    click.argument("model"),
    click.argument("vllm_flags", nargs=-1, type=click.UNPROCESSED),
    click.option("--revision", help="Branch, tag or commit of a Hub checkpoint."),
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        envvar="NVFP4_SERVE_HOST",
        show_envvar=True,
        help="Address to bind.",
    ),
    click.option(
        "--port", type=click.IntRange(1, 65535), default=8000, show_default=True
    ),
    click.option("--served-model-name", help="The name that requests give."),
    click.option("--max-model-len", type=click.IntRange(min=1), help="Tokens."),
    click.option(
        "--allow-known-bad",
        multiple=True,
        metavar="ID",
        help="Go on although this row of the known-bad list holds.",
    ),
    click.option(
        "--recipe",
        metavar="ID|none",
        help="Take this recipe, or rules alone; without it, the best that fits.",
    ),
)


def _layout_for(wanted: Asked) -> Layout:
    """Return the layout of what was asked for.

    Raises:
        CheckpointError: It cannot be read, or must not be served.
    """
    layout = read_layout(
        described(wanted.model, wanted.revision, wanted.checkpoint_facts)
    )
    refuse(layout)
    return layout


def described(model: str, revision: str | None, facts: Path | None) -> Checkpoint:
    """Return the checkpoint as its files say, or as ``facts`` do.

    Raises:
        CheckpointError: It cannot be read, or the facts are not of this checkpoint.
    """
    if facts is None:
        return read_checkpoint(model, revision=revision)
    return read_facts_of(model, facts, revision=revision)


def plan_for(wanted: Asked, host: Host) -> Plan:
    """Return the plan for what was asked, on ``host``.

    Raises:
        CheckpointError: The checkpoint cannot be read, or must not be served.
        DoesNotFitError: It does not fit.
        UsageError: A flag cannot be passed on.
        RecipeError: A recipe is wrong, or two are equally good.
    """
    layout = _layout_for(wanted)
    known = load_knowledge(_recipes_for(layout, wanted.request.recipe))
    request = wanted.request
    if layout.folder is None and wanted.checkpoint_facts is None:
        # The Hub's library costs as much start-up as all the rest.
        from nvfp4_serve.checkpoint.source import downloaded_bytes

        request = replace(request, downloaded=downloaded_bytes(layout.model))
    return make_plan(layout, host, request, known)


def _recipes_for(layout: Layout, asked_for: str | None) -> tuple[Recipe, ...]:
    """Return the recipes that the plan may need; one that is asked for may be any."""
    if asked_for == NONE:
        return ()
    if asked_for is not None:
        return load_recipes()
    return load_recipes_for([names_of(layout).last])
