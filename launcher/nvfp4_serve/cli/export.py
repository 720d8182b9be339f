"""``nvfp4-serve export``: a plan in the words of another tool."""

from pathlib import Path

import click

from nvfp4_serve.cli.options import (
    asked,
    checkpoint_facts_option,
    facts_option,
    model_arguments,
    plan_for,
)
from nvfp4_serve.cli.say import say
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host import detect_host, read_facts
from nvfp4_serve.plan import Plan
from nvfp4_serve.render.argv import export_argv
from nvfp4_serve.render.compose import export_compose
from nvfp4_serve.render.exported import Exported
from nvfp4_serve.render.sparkrun import export_sparkrun


@click.command("export")
@click.argument("form", type=click.Choice(["sparkrun", "compose", "argv"]))
@model_arguments
@click.option("--image", help="The container's image, `NAME@sha256:...`.")
@click.option("--shell", is_flag=True, help="With argv: a shell script, not JSON.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the file here, not to stdout.",
)
@facts_option
@checkpoint_facts_option
@click.pass_context
def export(
    context: click.Context,
    /,
    *,
    form: str,
    facts: Path | None,
    output: Path | None,
    **_: object,
) -> None:
    """Write the plan for MODEL as a file of another tool.

    The plan is the one that `nvfp4-serve plan` shows. No secret goes into the file,
    and no digest is made up: without `--image`, only argv can be written.
    """
    given = context.params
    host = detect_host() if facts is None else read_facts(facts)
    exported = _exported(
        plan_for(asked(context), host), form, given["image"], shell=given["shell"]
    )
    for sentence in exported.warnings:
        say(f"warning: {sentence}")
    if output is None:
        click.echo(exported.text, nl=False)
        return
    try:
        output.write_text(exported.text)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {error.strerror}.", fix="Check the path."
        ) from error
    say(f"written to `{output}`")


def _exported(plan: Plan, form: str, image: str | None, *, shell: bool) -> Exported:
    """Return the file.

    Raises:
        UsageError: An option is for another format.
    """
    if form == "argv":
        if image is not None:
            raise UsageError(
                "`--image` says nothing to argv, which runs no container.",
                fix="Leave it out, or export compose or sparkrun.",
            )
        return export_argv(plan, shell=shell)
    if shell:
        raise UsageError("`--shell` is for argv.", fix="Leave it out.")
    if form == "compose":
        return export_compose(plan, image)
    return export_sparkrun(plan, image)
