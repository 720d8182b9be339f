"""The arguments that `serve` and `plan` share, and the way from them to a Plan."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.cli.report import refuse
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.recipe.knowledge import load_knowledge


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands on the command line of `serve` and `plan`."""

    model: str
    revision: str | None
    request: Request


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
        ),
    )


facts_option = click.option(
    "--facts",
    type=click.Path(path_type=Path),
    help="Take the machine that this file describes, not this one.",
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
)


def _layout_for(wanted: Asked) -> Layout:
    """Return the layout of what was asked for.

    Raises:
        CheckpointError: It cannot be read, or must not be served.
    """
    layout = read_layout(read_checkpoint(wanted.model, revision=wanted.revision))
    refuse(layout)
    return layout


def plan_for(wanted: Asked, host: Host) -> Plan:
    """Return the plan for what was asked, on ``host``.

    Raises:
        CheckpointError: The checkpoint cannot be read, or must not be served.
        DoesNotFitError: It does not fit.
        UsageError: A flag cannot be passed on.
    """
    return make_plan(_layout_for(wanted), host, wanted.request, load_knowledge())
