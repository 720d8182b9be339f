"""``nvfp4-serve engine``: the managed engines of this user."""

import json

import click

from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.say import say
from nvfp4_serve.host import detect_host
from nvfp4_serve.runtime.engine import (
    find_engine,
    install_engine,
    list_engines,
    list_unfinished,
    remove_engine,
    verify_engine,
)
from nvfp4_serve.runtime.identity import FLAVOURS, engine_spec
from nvfp4_serve.runtime.manifest import has_python
from nvfp4_serve.runtime.places import engines_folder
from nvfp4_serve.runtime.types import Engine, EngineSpec
from nvfp4_serve.units import format_bytes

_flavour = click.option(
    "--flavour",
    type=click.Choice(FLAVOURS),
    help="Which engine; by default the one for this machine.",
)


@click.group()
def engine() -> None:
    """Install, show and remove the engine that `--runtime local` uses."""


@engine.command()
@_flavour
def install(flavour: str | None) -> None:
    """Install the engine for this machine, where it is not installed yet.

    It is made of pinned packages and of our patches, in a folder of its own; nothing
    else on this machine is changed.
    """
    spec = engine_spec(flavour or _flavour_here())
    with interrupts() as signals, signals.allowed():
        made = find_engine(spec)
        if made and has_python(made):
            verify_engine(made, spec)
            say(f"the engine {made.id} is installed already")
        else:
            made = install_engine(spec, say)
    click.echo(made.folder)


@engine.command()
@_flavour
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(flavour: str | None, *, as_json: bool) -> None:
    """Show which engines are installed, and which one this version uses."""
    spec = engine_spec(flavour or _flavour_here())
    wanted = find_engine(spec)
    if wanted:
        verify_engine(wanted, spec)
    engines = list_engines()
    if as_json:
        click.echo(json.dumps(_as_json(spec, wanted, engines), indent=2))
        return
    click.echo(f"folder    {engines_folder()}")
    click.echo(f"flavour   {spec.flavour}")
    click.echo(f"in use    {wanted.id if wanted else 'none; not installed yet'}")
    for identity in list_unfinished():
        click.echo(f"partial   {identity}; killed, or being installed now")
    for found in engines:
        click.echo("")
        _print_engine(found)


@engine.command()
@click.argument("identity", metavar="ID")
def remove(identity: str) -> None:
    """Remove the engine ID; `engine status` shows the ids."""
    remove_engine(identity, say)
    say(f"the engine {identity} is removed")


def _print_engine(found: Engine) -> None:
    click.echo(f"engine    {found.id}")
    click.echo(f"  vllm      {found.distribution} {found.version}")
    click.echo(f"  torch     {found.torch_version}")
    click.echo(f"  python    {found.python_version}, {found.platform}")
    click.echo(f"  patches   {found.patch_digest[:12]}")
    click.echo(f"  packages  {len(found.packages)}")
    click.echo(f"  size      {format_bytes(found.installed_bytes)}")
    click.echo(f"  made      {found.made}")


def _as_json(
    spec: EngineSpec, wanted: Engine | None, engines: tuple[Engine, ...]
) -> dict[str, object]:
    return {
        "folder": str(engines_folder()),
        "flavour": spec.flavour,
        "in_use": wanted.id if wanted else None,
        "unfinished": list(list_unfinished()),
        "engines": [
            {
                "id": e.id,
                "folder": str(e.folder),
                "flavour": e.flavour,
                "distribution": e.distribution,
                "version": e.version,
                "python_version": e.python_version,
                "platform": e.platform,
                "patch_digest": e.patch_digest,
                "torch_version": e.torch_version,
                "torch_record_sha256": e.torch_record_sha256,
                "installed_bytes": e.installed_bytes,
                "made": e.made,
                "packages": dict(e.packages),
            }
            for e in engines
        ],
    }


def _flavour_here() -> str:
    return "cuda" if detect_host().gpus else "cpu"
