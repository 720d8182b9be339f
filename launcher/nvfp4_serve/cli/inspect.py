"""``nvfp4-serve inspect``: how a checkpoint stores its weights, and what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from nvfp4_serve.checkpoint import layout_json, read_layout
from nvfp4_serve.checkpoint.facts_text import facts_text
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.cli.options import checkpoint_facts_option, described
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.finding import Finding
from nvfp4_serve.units import format_bytes, format_count


@click.command("inspect")
@click.argument("model")
@click.option("--json", "form", flag_value="json", help="Print one JSON object.")
@click.option(
    "--facts",
    "form",
    flag_value="facts",
    help="Print what was read, for `--checkpoint-facts`.",
)
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@checkpoint_facts_option
@click.pass_context
def inspect(
    context: click.Context,
    model: str,
    *,
    form: str | None,
    revision: str | None,
    checkpoint_facts: Path | None,
) -> None:
    """Say how MODEL, a folder or a Hub id, stores its weights.

    Reads the configs and the headers of the shards, never a weight. Ends with 10 if
    something was found that forbids serving it.

    `--facts` prints all that was read, in some tens of KiB: with it, a plan for this
    checkpoint is made where the checkpoint is not.
    """
    checkpoint = described(model, revision, checkpoint_facts)
    layout = read_layout(checkpoint)
    if form == "facts":
        click.echo(facts_text(checkpoint))
    elif form == "json":
        click.echo(json.dumps(layout_json(layout), indent=2))
    else:
        click.echo("\n".join(_lines(layout)))
    context.exit(ExitCode.OK if layout.servable else ExitCode.CHECKPOINT)


def _lines(layout: Layout) -> Iterator[str]:
    facts = tuple(_facts(layout))
    width = max(len(name) for name, _ in facts)
    yield layout.model
    for name, value in facts:
        yield f"  {name:<{width}}  {value}"
    if layout.overlay is not None:
        yield ""
        yield "The engine is told otherwise than config.json says:"
        yield from (f"  {change}" for change in layout.overlay.changes)
    for finding in layout.findings:
        yield ""
        yield from _finding_lines(finding)


def _facts(layout: Layout) -> Iterator[tuple[str, str]]:
    producer = layout.producer
    version = f" {producer.version}" if producer and producer.version else ""
    yield "architecture", layout.architecture or "not said in config.json"
    yield "producer", f"{producer.name}{version}" if producer else "not said"
    if layout.revision is not None:
        yield "revision", layout.revision
    yield "layout", layout.layout
    if layout.rewrites:
        yield "renamed for vLLM", ", ".join(layout.rewrites)
    for label, scheme in layout.schemes.items():
        yield label.replace("_", " "), scheme
    yield "weights", f"{format_bytes(layout.weight_bytes)} as stored"
    yield "in bfloat16", format_bytes(layout.dequantized_bytes)
    yield "parameters", format_count(layout.parameters)
    if layout.max_position_embeddings is not None:
        yield "context", f"{layout.max_position_embeddings:,} tokens"
    yield "servable", "yes" if layout.servable else "no"


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity.value}: {finding.message} [{finding.id}]"
    yield f"  fix: {finding.fix}"
