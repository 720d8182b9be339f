"""``nvfp4-serve ps``, ``stop`` and ``logs``: the engines that run on this machine."""

import json
import time

import click

from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.say import say
from nvfp4_serve.ready.log import LogReader
from nvfp4_serve.runtime.instances import find_instance, list_instances, lives
from nvfp4_serve.runtime.local import LocalRuntime

_port = click.option(
    "--port", type=click.IntRange(1, 65535), help="The engine on this port."
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(*, as_json: bool) -> None:
    """Show the engines that run on this machine."""
    living = list_instances()
    if as_json:
        rows = [
            {
                "id": i.id,
                "model": i.name,
                "url": i.url,
                "pid": i.pid,
                "detached": i.detached,
                "engine": i.engine,
                "started": i.started,
                "log": str(i.log),
            }
            for i in living
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    if not living:
        say("no engine is running")
        return
    width = max(len(i.id) for i in living)
    click.echo(f"{'ID':<{width}}  {'PID':>7}  {'STARTED':<25}  URL")
    for i in living:
        click.echo(f"{i.id:<{width}}  {i.pid:>7}  {i.started:<25}  {i.url}")


@click.command()
@click.argument("name", required=False)
@_port
def stop(name: str | None, port: int | None) -> None:
    """Stop the engine NAME (an id or a model), or the only one that runs."""
    instance = find_instance(name, port)
    with interrupts() as signals:
        say(f"stopping {instance.id}; Ctrl-C ends it at once")
        LocalRuntime((), say).stop(instance, hurry=lambda: signals.count > 0)
    say("stopped; nothing is left running")


@click.command()
@click.argument("name", required=False)
@_port
@click.option("-f", "--follow", is_flag=True, help="Go on until the engine ends.")
def logs(name: str | None, port: int | None, *, follow: bool) -> None:
    """Print what the engine NAME (an id or a model), or the only one, has written."""
    instance = find_instance(name, port)
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
