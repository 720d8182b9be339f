"""`nvfp4-serve plan`: say how a checkpoint would be served here, and why."""

from pathlib import Path

import click

from nvfp4_serve.cli.options import asked, facts_option, model_arguments, plan_for
from nvfp4_serve.cli.report import ready_text
from nvfp4_serve.host import detect_host, read_facts
from nvfp4_serve.plan import Plan
from nvfp4_serve.render import kernel_lines, render_json, render_shell
from nvfp4_serve.units import format_bytes


@click.command()
@model_arguments
@click.option("--json", "form", flag_value="json", help="Print the plan as JSON.")
@click.option("--shell", "form", flag_value="shell", help="Print a shell command.")
@click.option(
    "--diff",
    type=click.Choice(["auto"]),
    help="Print the kernels beside those that stock vLLM would take.",
)
@facts_option
@click.pass_context
def plan(
    context: click.Context,
    /,
    *,
    form: str | None,
    diff: str | None,
    facts: Path | None,
    **_: object,
) -> None:
    """Say how MODEL would be served here, and why.

    MODEL is a folder or a Hub id. Flags of vLLM's own may follow after `--`.
    """
    host = detect_host() if facts is None else read_facts(facts)
    made = plan_for(asked(context), host)
    if form == "json":
        click.echo(render_json(made))
    elif form == "shell":
        click.echo(render_shell(made))
    elif diff is not None:
        click.echo("\n".join(kernel_lines(made)))
    else:
        click.echo("\n".join(_lines(made)))


def _lines(made: Plan) -> list[str]:
    budget = made.budget
    rows = [
        ("model", made.argv[0]),
        ("engine", f"{made.engine}, {made.status}"),
        ("recipe", made.recipe_id or "none; rules alone"),
        ("address", f"http://{made.bind}, as `{made.served_model_name}`"),
        ("gpus", ", ".join(made.gpus) or "none"),
        ("memory", f"{format_bytes(budget.total)}, of which"),
        ("  weights", format_bytes(budget.weights)),
        ("  engine", format_bytes(budget.overhead)),
        ("  KV cache", format_bytes(budget.kv_cache)),
        ("  free", format_bytes(budget.free)),
    ]
    if made.ready is not None:
        rows.append(("ready", ready_text(made.ready)))
    rows += [("note", note) for note in made.notes]
    lines = [f"{name:<11} {value}" for name, value in rows]
    for finding in made.findings:
        lines += ["", f"{finding.severity}: {finding.message}", f"  {finding.fix}"]
    for reason in made.because:
        lines += ["", reason.flag, f"  {reason.why}", f"  source: {reason.source}"]
    return lines
