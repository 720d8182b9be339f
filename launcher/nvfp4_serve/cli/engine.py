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
from nvfp4_serve.runtime.identity import (
    FLAVOURS,
    QUANTIZER,
    engine_spec,
    quantizer_spec,
)
from nvfp4_serve.runtime.manifest import has_python
from nvfp4_serve.runtime.places import engines_folder
from nvfp4_serve.runtime.types import Engine, EngineSpec
from nvfp4_serve.units import format_bytes

_flavour = click.option(
    "--flavour",
    type=click.Choice((*FLAVOURS, QUANTIZER)),
    help="Which engine; by default the one for this machine. `quantizer` is what "
    "`quantize` uses.",
)


@click.group()
def engine() -> None:
    """Install, show and remove the engine, and the quantizer."""


@engine.command()
@_flavour
def install(flavour: str | None) -> None:
    """Install the engine for this machine, where it is not installed yet.

    It is made of pinned packages and of our patches, in a folder of its own; nothing
    else on this machine is changed.
    """
    spec = _spec(flavour)
    with interrupts() as signals, signals.allowed():
        made = find_engine(spec)
        if made and has_python(made):
            verify_engine(made, spec)
            say(f"the {spec.noun} {made.id} is installed already")
        else:
            made = install_engine(spec, say)
    click.echo(made.folder)


@engine.command()
@_flavour
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(flavour: str | None, *, as_json: bool) -> None:
    """Show which engines are installed, and which one this version uses."""
    spec = _spec(flavour)
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
    click.echo(f"quantizer {_quantizer_line()}")
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
    say(f"{identity} is removed")


def _quantizer_line() -> str:
    made = find_engine(quantizer_spec())
    return made.id if made else "none; the first `quantize` installs it"


def _print_engine(found: Engine) -> None:
    is_quantizer = found.flavour == QUANTIZER
    click.echo(f"{'quantizer' if is_quantizer else 'engine   '} {found.id}")
    what = "modelopt" if is_quantizer else "vllm    "
    click.echo(f"  {what}  {found.distribution} {found.version}")
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


def _spec(flavour: str | None) -> EngineSpec:
    if flavour == QUANTIZER:
        return quantizer_spec()
    return engine_spec(flavour or ("cuda" if detect_host().gpus else "cpu"))
