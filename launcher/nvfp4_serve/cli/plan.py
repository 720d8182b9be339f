"""`nvfp4-serve plan`: say how a checkpoint would be served here, and why."""

import shutil
from pathlib import Path

import click

from nvfp4_serve.cli.options import (
    asked,
    checkpoint_facts_option,
    facts_option,
    model_arguments,
    plan_for,
)
from nvfp4_serve.cli.report import ready_text
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host import detect_host, read_facts
from nvfp4_serve.plan import Plan
from nvfp4_serve.render import (
    kernel_lines,
    render_budget,
    render_json,
    render_page,
    render_shell,
)
from nvfp4_serve.runtime.image import check_machine, read_image
from nvfp4_serve.units import format_bytes


@click.command()
@model_arguments
@click.option("--json", "form", flag_value="json", help="Print the plan as JSON.")
@click.option("--shell", "form", flag_value="shell", help="Print a shell command.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the plan to this file too, as one page.",
)
@click.option(
    "--diff",
    type=click.Choice(["auto"]),
    help="Print the kernels beside those that stock vLLM would take.",
)
@facts_option
@checkpoint_facts_option
@click.pass_context
def plan(
    context: click.Context,
    /,
    *,
    form: str | None,
    html: Path | None,
    diff: str | None,
    facts: Path | None,
    **_: object,
) -> None:
    """Say how MODEL would be served here, and why.

    MODEL is a folder or a Hub id. Flags of vLLM's own may follow after `--`.
    """
    host = detect_host() if facts is None else read_facts(facts)
    # In an image, as `serve` would refuse it; a described machine has no such image.
    if facts is None and (inside := read_image()):
        check_machine(inside, host)
    made = plan_for(asked(context), host)
    if html is not None:
        _write(html, render_page(made))
    if form == "json":
        click.echo(render_json(made))
    elif form == "shell":
        click.echo(render_shell(made))
    elif diff is not None:
        click.echo("\n".join(kernel_lines(made)))
    else:
        click.echo("\n".join(_lines(made)))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"`--html {path}` cannot be written: {error.strerror}.",
            fix="Name a file in a folder that is there and may be written to.",
        ) from error


def _lines(made: Plan) -> list[str]:
    rows = [
        ("model", made.argv[0]),
        ("engine", f"{made.engine}, {made.status}"),
        ("recipe", made.recipe_id or "none; rules alone"),
        ("address", f"http://{made.bind}, as `{made.served_model_name}`"),
        ("gpus", ", ".join(made.gpus) or "none"),
        ("KV cache", _tokens(made)),
    ]
    if made.download:
        rows.append(("download", format_bytes(made.download)))
    if made.ready is not None:
        rows.append(("ready", ready_text(made.ready)))
    rows += [("note", note) for note in made.notes]
    lines = [f"{name:<11} {value}" for name, value in rows]
    width = shutil.get_terminal_size().columns
    lines += ["", render_budget(made.budgets, width=width)]
    for finding in made.findings:
        lines += ["", f"{finding.severity}: {finding.message}", f"  {finding.fix}"]
    for reason in made.because:
        lines += ["", reason.flag, f"  {reason.why}", f"  source: {reason.source}"]
    return lines


def _tokens(made: Plan) -> str:
    if made.kv_cache_tokens is None:
        return "how many tokens it holds is not known for this attention"
    return f"{made.kv_cache_tokens:,} tokens"
