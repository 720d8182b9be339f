"""Our containers, for `ps`, `logs` and `stop`. Loads the SDK only where it can help."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nvfp4_serve.cli.say import say
from nvfp4_serve.errors import EngineError, HostError
from nvfp4_serve.host.containers import engine_address, out_of_reach
from nvfp4_serve.runtime.types import Instance

if TYPE_CHECKING:
    from nvfp4_serve.runtime.docker_engine import DockerEngine


def instances() -> tuple[Instance, ...]:
    """Return the engines in containers; none where there is no container engine.

    One that is there and does not answer is said, and is no error: what runs without
    containers can be seen and stopped all the same.
    """
    address = engine_address(os.environ, Path("/"))
    if address is None:
        return ()
    from nvfp4_serve.runtime.container_instances import list_containers

    try:
        return list_containers(_connect(address))
    except EngineError as error:
        say(": ".join(("warning", error.problem, *error.evidence)))
        return ()


def stop(instance: Instance, hurry: Callable[[], bool]) -> None:
    """Stop the engine in a container, and remove the container.

    Raises:
        EngineError: It does not end, or the container engine does not answer.
    """
    from nvfp4_serve.host import detect_host
    from nvfp4_serve.runtime.docker_run import DockerRuntime

    # What is killed while it holds the GPU of such a machine can take the machine with
    # it, whichever engine it is.
    try:
        may_kill = not any(gpu.integrated for gpu in detect_host().gpus)
    except HostError:
        # It cannot be known, and what runs must be stopped all the same.
        may_kill = False
    DockerRuntime(_connect(_address()), say, may_kill=may_kill).stop(
        instance, hurry=hurry
    )


def print_log(instance: Instance, *, follow: bool) -> None:
    """Print what the container has written, and what it will, if asked.

    Raises:
        EngineError: The container engine does not give it.
    """
    from nvfp4_serve.runtime.containers import EngineGoneError, EngineRefusedError

    address = _address()
    try:
        for chunk in _connect(address).logs(str(instance.container), follow=follow):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    except (EngineGoneError, EngineRefusedError) as error:
        raise EngineError(
            f"The container engine at {address} broke off: {error}.",
            fix="`nvfp4-serve ps` shows what runs.",
        ) from error


def _address() -> str:
    address = engine_address(os.environ, Path("/"))
    if address is None:
        raise EngineError(
            "The container engine is gone.", fix="Start it (`systemctl start docker`)."
        )
    return address


def _connect(address: str) -> "DockerEngine":
    return connect(address, "What runs in it cannot be seen or stopped.")


def connect(address: str, so: str) -> "DockerEngine":
    """Return the engine at ``address``.

    Args:
        address: ``unix:///path`` or ``tcp://host:port``.
        so: What it means if it does not answer; a sentence.

    Raises:
        EngineError: It cannot be asked, or does not answer.
    """
    if problem := out_of_reach(address, os.environ):
        raise EngineError(problem[0], fix=problem[1])
    try:
        from nvfp4_serve.runtime.docker_engine import DockerEngine
    except ModuleNotFoundError as error:
        raise EngineError(
            f"This launcher lacks the package `{error.name}`, and cannot ask the "
            f"container engine at {address}.",
            fix="Run the launcher of the machine itself; the one in our images starts "
            "and stops no containers.",
        ) from error
    from nvfp4_serve.runtime.container_failures import gone_error
    from nvfp4_serve.runtime.containers import EngineGoneError

    try:
        return DockerEngine(address)
    except EngineGoneError as error:
        raise gone_error(address, error, so) from error
