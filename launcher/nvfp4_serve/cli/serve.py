"""`nvfp4-serve serve`: from a checkpoint to an engine whose answers are right."""

import os
import sys
from pathlib import Path
from typing import Final

import click

from nvfp4_serve.cli import container
from nvfp4_serve.cli.api_key import guard, makes_key
from nvfp4_serve.cli.interrupts import interrupts
from nvfp4_serve.cli.options import (
    Asked,
    asked,
    facts_option,
    model_arguments,
    plan_for,
)
from nvfp4_serve.cli.report import warn_of_plan
from nvfp4_serve.cli.say import say
from nvfp4_serve.cli.session import Job, serve_plan
from nvfp4_serve.errors import EngineError, UsageError
from nvfp4_serve.host import detect_host, read_facts
from nvfp4_serve.plan import Plan
from nvfp4_serve.plan.flags import flag_name
from nvfp4_serve.ready.canary import read_canary
from nvfp4_serve.resources import data_folder
from nvfp4_serve.runtime.engine import find_engine, install_engine, verify_engine
from nvfp4_serve.runtime.identity import engine_spec, flavour_of
from nvfp4_serve.runtime.image import (
    ImageEngine,
    check_machine,
    image_command,
    image_environment,
    read_image,
    verify_image,
)
from nvfp4_serve.runtime.local import LocalRuntime
from nvfp4_serve.runtime.types import Engine, EngineSpec, Runtime
from nvfp4_serve.units import format_bytes

#: Seconds. The largest checkpoints take half an hour to read from a network disk.
_READY_TIMEOUT: Final = 3600.0


#: Flags of vLLM's own with which it speaks TLS, listens on no TCP port, or not at all.
_OUT_OF_REACH: Final = frozenset(
    {"--ssl-keyfile", "--ssl-certfile", "--uds", "--headless", "--grpc"}
)


@click.command()
@model_arguments
@click.option(
    "--runtime",
    type=click.Choice(["local", "docker"]),
    default="local",
    show_default=True,
    help="Where the engine runs: as processes here, or in a container.",
)
@click.option("--image", help="The container image, best by its digest.")
@click.option(
    "--build", is_flag=True, help="Build the image for this machine, in a checkout."
)
@click.option("--dry-run", is_flag=True, help="Print what the engine would be asked.")
@click.option("--detach", is_flag=True, help="Leave it running, and return when right.")
@click.option("--yes", is_flag=True, help="Install the engine without asking.")
@click.option(
    "--ready-timeout",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="How long the engine may take until its answers are right.  "
    f"[default: {_READY_TIMEOUT:g}, or twice what the recipe says]",
)
@facts_option
@click.option(
    "--checkpoint-facts", type=click.Path(path_type=Path), hidden=True
)  # Refused, with the reason.
@click.pass_context
def serve(
    context: click.Context,
    /,
    *,
    runtime: str,
    image: str | None,
    build: bool,
    dry_run: bool,
    detach: bool,
    yes: bool,
    ready_timeout: float | None,
    facts: Path | None,
    **_: object,
) -> None:
    """Serve MODEL, and wait until its answers are right.

    MODEL is a folder or a Hub id. Flags of vLLM's own may follow after `--`. Without
    `--detach`, Ctrl-C stops the engine; a second one stops it at once.
    """
    _check_options(runtime, image, build=build, dry_run=dry_run)
    with interrupts() as signals:
        with signals.allowed():
            wanted = asked(context)
            _refuse_out_of_reach(wanted.request.extra)
            _refuse_described(wanted)
            inside = read_image()
            if runtime == "docker":
                container.check_place(inside)
                container.check_words(wanted.request.extra, wanted.request.environment)
            host = detect_host() if facts is None else read_facts(facts)
            if inside:
                check_machine(inside, host)
            plan = plan_for(wanted, host)
            warn_of_plan(plan)
            canary = _read_canary(plan)
            if dry_run:
                shown = container.describe(
                    plan, host, str(image), is_keyed=makes_key(plan)
                )
                click.echo(container.render(shown))
                return
            guard(plan, is_published=bool(inside) and not _is_typed(context, "host"))
            runs: Runtime
            if runtime == "docker":
                plan, runs = container.prepare(plan, host, image)
            else:
                runs = _local(plan, inside, yes=yes)
            seconds = ready_timeout or ready_seconds(plan)
        job = Job(plan, canary, detach=detach, seconds=seconds)
        serve_plan(job, runs, signals)


def _is_typed(context: click.Context, option: str) -> bool:
    """Say whether an option stands on the command line."""
    source = context.get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _check_options(
    runtime: str, image: str | None, *, build: bool, dry_run: bool
) -> None:
    """Refuse options that do not go together."""
    if build and (dry_run or image is not None):
        raise UsageError(
            f"`--build` makes an image, and `{'--dry-run' if dry_run else '--image'}` "
            "needs one that is made.",
            fix="Give one of the two.",
        )
    if runtime == "docker" and image is None and not build:
        raise UsageError(
            "`--runtime docker` does not know which image to run.",
            fix="Name it: `--image registry/name@sha256:...`; or `--build` it, in a "
            "checkout.",
        )
    if runtime == "local" and (image is not None or build or dry_run):
        name = "--dry-run" if dry_run else "--build" if build else "--image"
        raise UsageError(
            f"`{name}` is for `--runtime docker`.",
            fix="Leave it out; `nvfp4-serve plan --shell` prints the command of a "
            "local engine."
            if dry_run
            else "Leave it out, or add `--runtime docker`.",
        )


def ready_seconds(plan: Plan) -> float:
    """Return how long the engine may take: more than an hour where the recipe did."""
    cold = plan.ready.cold_seconds if plan.ready else None
    if cold is None or 2 * cold <= _READY_TIMEOUT:
        return _READY_TIMEOUT
    say(f"the recipe says {cold} s to the first answer; waiting for twice as long")
    return 2.0 * cold


def _refuse_out_of_reach(flags: tuple[str, ...]) -> None:
    """Raise where the engine would not answer plain HTTP on its port."""
    names = {flag_name(word) for word in flags}
    if found := sorted(names & _OUT_OF_REACH):
        raise UsageError(
            f"The launcher cannot ask an engine with `{found[0]}` whether it is right.",
            fix="Leave it out, and put a reverse proxy in front for TLS; or run the "
            "words of `nvfp4-serve plan --shell` yourself.",
        )


def _refuse_described(wanted: Asked) -> None:
    """Raise where the weights are known from a description only."""
    if wanted.checkpoint_facts is not None:
        raise UsageError(
            f"`--checkpoint-facts {wanted.checkpoint_facts}` describes a checkpoint; "
            "there are no weights in it to serve.",
            fix=f"Leave it out: `nvfp4-serve serve {wanted.model}` reads the "
            "checkpoint itself. `nvfp4-serve plan` takes a description.",
        )


def _read_canary(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Read the canary before the engine starts: a bad one need not cost a minute."""
    path = plan.expect.canary
    return read_canary(Path(path)) if path and Path(path).exists() else ()


def _local(plan: Plan, image: ImageEngine | None, *, yes: bool) -> LocalRuntime:
    """Return what starts the engine of this image, or the managed one."""
    if image:
        verify_image(image, data_folder("patches") / "series.py")
        given = image_environment(image, os.environ)
        return LocalRuntime(image_command(image), say, given=given)
    engine = _engine_for(plan, yes=yes)
    command = (str(engine.python), "-I", "-m", "nvfp4_serve_engine", "serve")
    return LocalRuntime(command, say, engine=engine.id)


def _engine_for(plan: Plan, *, yes: bool) -> Engine:
    """Return the managed engine that ``plan`` asks for; install it where it is not."""
    spec = engine_spec(flavour_of(plan.engine))
    engine = find_engine(spec)
    if engine is None:
        _ask_to_install(spec, yes=yes)
        return install_engine(spec, say)
    verify_engine(engine, spec)
    return engine


def _ask_to_install(spec: EngineSpec, *, yes: bool) -> None:
    what = f"engine {spec.distribution} {spec.version} with our patches"
    size = format_bytes(spec.installed_bytes)
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        say(f"the {what} is not installed yet; installing it now")
        return
    question = f"The {what} is not installed yet. Install it now ({size} on the disk)?"
    if not click.confirm(question, default=True, err=True):
        raise EngineError(
            "The engine is not installed.",
            fix="`nvfp4-serve engine install` installs it; `nvfp4-serve plan --shell` "
            "prints what to run on an engine of your own.",
        )
