"""`nvfp4-serve known-bad`: what is known not to work, who saw it, and what to do."""

import json
from collections.abc import Iterator

import click
import msgspec

from nvfp4_serve.recipe.known_bad import KnownBad, load_known_bad


@click.command("known-bad")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def known_bad(as_json: bool) -> None:
    """List what is known not to work, who saw it, and what to do instead.

    `plan` and `serve` hold every row against the checkpoint, the machine and the flags.
    Where a row says `refuse`, they stop, unless `--allow-known-bad ID` is given.
    """
    rows = load_known_bad()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(rows), indent=2))
        return
    click.echo("\n\n".join("\n".join(_lines(row)) for row in rows))


def _lines(row: KnownBad) -> Iterator[str]:
    yield f"{row.id}  ({row.kind}, {row.severity})"
    for name, value in msgspec.to_builtins(row.when).items():
        yield f"  when     {name.replace('_', ' ')}: {_text(value)}"
    yield f"  symptom  {row.symptom}"
    yield f"  source   {row.source}"
    yield f"  instead  {row.instead}"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return " or ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
