"""``nvfp4-serve repair``: write a checkpoint again, as loaders know it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.report import warn
from nvfp4_serve.cli.say import say
from nvfp4_serve.repair import free_room, plan_repair, report, run_repair
from nvfp4_serve.units import format_bytes


@click.command("repair")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--revision", help="Branch, tag or commit of a Hub checkpoint.")
def repair(
    source: str, target: Path, *, dry_run: bool, as_json: bool, revision: str | None
) -> None:
    """Write SRC, a folder or a downloaded Hub id, to DST as loaders know it.

    For checkpoints that hold the right bytes under other names or in another order, or
    whose config contradicts them: `nvfp4-serve inspect` says which. SRC is only read.
    DST is there once all of it is written and verified. Killed, the same command goes
    on where it was.
    """
    with interrupts() as signals, signals.allowed():
        checkpoint = read_checkpoint(source, revision=revision)
        planned = plan_repair(checkpoint, read_layout(checkpoint))
        if not dry_run:
            done = run_repair(planned, target, say)
            # What is still to be said of it: names and config are not everything.
            warn(read_layout(read_checkpoint(str(target.absolute()))))
            click.echo(json.dumps(done, indent=2) if as_json else target)
            return
        free = free_room(planned, target, say)
        said = report(planned) | {"dry_run": True, "free": free}
    click.echo(json.dumps(said, indent=2) if as_json else "\n".join(_lines(said)))


def _lines(said: dict[str, Any]) -> Iterator[str]:
    yield said["source"]["model"]
    facts = tuple(_facts(said))
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        yield f"  {name:<{width}}  {value}"


def _facts(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    tensors, taken = said["tensors"], said["bytes"]
    yield "repair", ", ".join(said["kinds"]) or "the config alone"
    yield "shards", f"{len(said['shards']):,} written anew"
    yield "files", f"{len(said['copied']):,} copied"
    yield "renamed", f"{tensors['new_names']:,} tensors"
    yield "kept", f"{tensors['kept']:,} tensors"
    yield "dropped", f"{tensors['dropped']:,} tensors"
    for shard in said["shards"].values():
        for example in shard["examples"][:1]:
            yield "example", example
    for change in said["config_changes"]:
        yield "config", change
    for name in said["written"]:
        yield "written", name
    for name in said["dropped"]:
        yield "not taken", name
    for name in said["left_out"]:
        yield "left out", f"{name}, which is no part of a checkpoint"
    whole = taken["written_anew"] + taken["copied"]
    yield "bytes", f"{format_bytes(whole)} written"
    yield (
        "shareable",
        f"{format_bytes(taken['shareable'])} of them, on btrfs, xfs and the like",
    )
    yield "free", f"{format_bytes(said['free'])} at the target"
