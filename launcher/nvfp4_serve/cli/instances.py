"""``nvfp4-serve ps``, ``stop`` and ``logs``: the engines that run on this machine."""

import json
import time

import click

from nvfp4_serve.cli import containers
from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.say import say
from nvfp4_serve.ready.log import LogReader
from nvfp4_serve.runtime.instances import find_instance, list_instances, lives
from nvfp4_serve.runtime.local import LocalRuntime
from nvfp4_serve.runtime.types import Instance

_port = click.option(
    "--port", type=click.IntRange(1, 65535), help="The engine on this port."
)


def every_instance() -> tuple[Instance, ...]:
    """Return the engines of this machine: its processes, and its containers."""
    return (*list_instances(), *containers.instances())


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(*, as_json: bool) -> None:
    """Show the engines that run on this machine, and in its containers."""
    found = every_instance()
    if as_json:
        click.echo(json.dumps([_row(i) for i in found], indent=2))
        return
    if not found:
        say("no engine is running")
        return
    rows = [("ID", "WHERE", "STATE", "STARTED", "URL")]
    rows += [(i.id, i.where, i.state, i.started, i.url) for i in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@click.command()
@click.argument("name", required=False)
@_port
def stop(name: str | None, port: int | None) -> None:
    """Stop the engine NAME (an id or a model), or the only one that runs."""
    instance = find_instance(every_instance(), name, port)
    with interrupts() as signals:
        say(f"stopping {instance.id}; Ctrl-C ends it at once")

        def hurry() -> bool:
            return signals.count > 0

        if instance.container is None:
            LocalRuntime((), say).stop(instance, hurry=hurry)
        else:
            containers.stop(instance, hurry)
    say("stopped; nothing is left running")


@click.command()
@click.argument("name", required=False)
@_port
@click.option("-f", "--follow", is_flag=True, help="Go on until the engine ends.")
def logs(name: str | None, port: int | None, *, follow: bool) -> None:
    """Print what the engine NAME (an id or a model), or the only one, has written."""
    instance = find_instance(every_instance(), name, port)
    if instance.container is not None:
        containers.print_log(instance, follow=follow)
        return
    reader = LogReader(instance.log)
    while True:
        alive = follow and lives(instance)
        lines = list(reader.new_lines())
        for line in lines:
            click.echo(line)
        if not lines:
            if not alive:
                return
            time.sleep(0.2)


def _row(instance: Instance) -> dict[str, object]:
    in_container = instance.container is not None
    return {
        "id": instance.id,
        "model": instance.name,
        "url": instance.url,
        "runtime": "docker" if in_container else "local",
        "state": instance.state,
        "pid": instance.pid,
        "container": instance.container,
        "image": instance.image,
        "detached": instance.detached,
        "engine": instance.engine,
        "started": instance.started,
        "log": None if in_container else str(instance.log),
    }
