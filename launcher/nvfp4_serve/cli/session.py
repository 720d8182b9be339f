"""One engine, from its start until it is right and left alone, or stopped."""

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import click

from nvfp4_serve.cli.api_key import given_key
from nvfp4_serve.cli.interrupts import Interrupts
from nvfp4_serve.cli.say import say
from nvfp4_serve.plan import Plan
from nvfp4_serve.ready.ending import explain_end
from nvfp4_serve.ready.gate import wait_until_right
from nvfp4_serve.ready.types import Watched
from nvfp4_serve.runtime.types import Instance, Runtime

#: Seconds between two looks at an engine that serves.
_LOOK: Final = 0.2
#: Seconds after which what a container wrote is in our copy of its log. It takes
#: milliseconds; a busy machine takes more.
_LOG_LAG: Final = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be served, and how.

    Attributes:
        plan: How to start it.
        canary: Pairs of a prompt and the text that must follow.
        detach: Leave it running once it is right.
        seconds: How long it may take until then.
    """

    plan: Plan
    canary: tuple[tuple[str, str], ...]
    detach: bool
    seconds: float


def serve_plan(job: Job, runtime: Runtime, signals: Interrupts) -> None:
    """Start the engine; leave it running only where it is right, and detached.

    Raises:
        EngineError: It does not start, or ends.
        NotRightError: Its answers are not right.
        KeyboardInterrupt: A signal asked for the end.
    """
    started = time.monotonic()
    instance = runtime.start(job.plan, detached=job.detach)
    is_left = False
    try:
        with signals.allowed():
            say(f"engine started ({instance.where}); its log is `{instance.log}`")
            watched = _watched(instance, runtime)
            wait_until_right(
                watched,
                job.plan.expect,
                job.canary,
                seconds=job.seconds,
                say=_since(started),
            )
            say(f"right after {time.monotonic() - started:.1f} s")
            _print_address(instance, job, is_guarded=watched.api_key is not None)
            if job.detach:
                runtime.leave(instance)
            is_left = job.detach
            if not job.detach:
                _follow(watched)
    except KeyboardInterrupt:
        say("stopping the engine; Ctrl-C again stops it at once")
        raise
    finally:
        if not is_left:
            runtime.stop(instance, hurry=signals.again)
            say("the engine is stopped; nothing is left running")


def _follow(watched: Watched) -> None:
    """Return never: the engine ends, or somebody ends us."""
    while True:
        if end := watched.ended():
            raise explain_end(watched, end.how, out_of_memory=end.out_of_memory)
        time.sleep(_LOOK)


def _watched(instance: Instance, runtime: Runtime) -> Watched:
    return Watched(
        url=instance.url,
        log=instance.log,
        model=instance.name,
        api_key=given_key(),
        ended=lambda: runtime.ended(instance),
        log_lag=_LOG_LAG if instance.container else 0.0,
    )


def _print_address(instance: Instance, job: Job, *, is_guarded: bool) -> None:
    """Print the address and a question to try, to stdout: they are the data."""
    question = {"model": instance.name, "prompt": "The", "max_tokens": 16}
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"'
    click.echo(instance.url)
    click.echo(
        f"curl {instance.url}/v1/completions -H 'Content-Type: application/json'"
        f"{key if is_guarded else ''}"
        f" -d {shlex.quote(json.dumps(question))}"
    )
    if job.detach:
        say(f"it runs on its own; `nvfp4-serve stop {instance.id}` stops it")
    else:
        say("Ctrl-C stops it")


def _since(started: float) -> Callable[[str], None]:
    """Return a ``say`` that puts the seconds since ``started`` in front."""
    return lambda line: say(f"  {time.monotonic() - started:5.1f} s  {line}")
