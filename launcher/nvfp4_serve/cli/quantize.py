"""``nvfp4-serve quantize``: make an NVFP4 checkpoint, and check that it is one."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import click

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.say import say
from nvfp4_serve.host.memory import read_memory
from nvfp4_serve.quantize.compare import lost_parts
from nvfp4_serve.quantize.make import WORKER, check_wish, make_checkpoint
from nvfp4_serve.quantize.recipes import recipe_of
from nvfp4_serve.quantize.space import packable, require_plain, require_room
from nvfp4_serve.quantize.types import Wish
from nvfp4_serve.runtime.engine import (
    find_engine,
    in_use,
    install_engine,
    verify_engine,
)
from nvfp4_serve.runtime.identity import quantizer_spec
from nvfp4_serve.runtime.manifest import has_python
from nvfp4_serve.runtime.types import Engine
from nvfp4_serve.units import format_bytes


@click.command()
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    default="NVFP4_DEFAULT_CFG",
    show_default=True,
    help="A configuration of ModelOpt 0.47.0's, by its own name.",
)
@click.option(
    "--calib",
    type=click.Path(path_type=Path),
    help="Text that sets the scales of activations: a text file, or JSON lines with a "
    "`text` or `messages` each. W4A4 needs it.",
)
@click.option(
    "--calib-samples",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Pieces of text, at most.",
)
@click.option(
    "--calib-length",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Tokens of a piece, at most.",
)
@click.option(
    "--kv-cache", type=click.Choice(("fp8",)), help="Set scales for an FP8 KV cache."
)
@click.option(
    "--dtype",
    type=click.Choice(("bfloat16", "float16")),
    default="bfloat16",
    show_default=True,
    help="Of what is not quantized.",
)
@click.option("--revision", help="Branch, tag or commit on the Hub.")
@click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run the Python files that come with the model.",
)
@click.pass_context
def quantize(context: click.Context, /, **_: object) -> None:
    """Quantize MODEL, a folder or a Hub id, to NVFP4 with ModelOpt; write OUT.

    Runs on the CPU, in an environment of its own. OUT appears only when every module
    that the recipe means to quantize is packed in it.
    """
    wish = _wish(context.params)
    check_wish(wish)
    checkpoint = read_checkpoint(wish.model, revision=wish.revision)
    plain = read_layout(checkpoint)
    require_plain(plain)
    # The commit that was looked at, whatever its branch has become meanwhile.
    wish = dataclasses.replace(wish, revision=plain.revision)
    free = shutil.disk_usage(wish.out.absolute().parent).free
    memory = read_memory().available
    packed = packable(checkpoint, recipe_of(wish.recipe))
    for line in require_room(plain, packed=packed, disk=free, memory=memory):
        say(line)
    with interrupts() as signals, signals.allowed():
        quantizer = _quantizer()
        with in_use(quantizer):
            command = (str(quantizer.python), "-I", str(WORKER))
            made = make_checkpoint(wish, command, say)
    for part in lost_parts(plain, made):
        say(
            f"warning: transformers did not load the {part} part of MODEL; OUT has none"
        )
    say(
        f"{made.layout}, {format_bytes(made.weight_bytes)}; "
        f"{format_bytes(plain.weight_bytes)} before"
    )
    click.echo(wish.out)


def _wish(given: dict[str, Any]) -> Wish:
    renamed = {"calib": "calibration"}
    return Wish(**{renamed.get(name, name): value for name, value in given.items()})


def _quantizer() -> Engine:
    """Return the managed quantizer; install it first where it is not there."""
    spec = quantizer_spec()
    made = find_engine(spec)
    if made and has_python(made):
        verify_engine(made, spec)
        return made
    return install_engine(spec, say)
