"""`--runtime docker`: from a plan to the container that is asked for."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nvfp4_serve.cli import containers
from nvfp4_serve.cli.api_key import KEY, given_key
from nvfp4_serve.cli.say import say
from nvfp4_serve.errors import EngineError, UsageError
from nvfp4_serve.host.attach import is_too_old
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.containers import read_container
from nvfp4_serve.host.disk import hub_cache
from nvfp4_serve.host.types import Container, Host
from nvfp4_serve.plan import Plan
from nvfp4_serve.resources import images_folder
from nvfp4_serve.runtime.container_body import (
    CACHES,
    Order,
    container_body,
    gpu_request,
    labels_of,
)
from nvfp4_serve.runtime.container_start import container_name
from nvfp4_serve.runtime.containers import Image
from nvfp4_serve.runtime.docker_run import DockerRuntime
from nvfp4_serve.runtime.hub_access import network_variables, read_token
from nvfp4_serve.runtime.image import ImageEngine
from nvfp4_serve.runtime.image_build import build_image
from nvfp4_serve.runtime.image_command import SERVE, image_command
from nvfp4_serve.runtime.memory_gate import wait_for_memory
from nvfp4_serve.runtime.model_mount import mount_model
from nvfp4_serve.runtime.pull import check_architecture, fetch_image, find_image

if TYPE_CHECKING:  # It imports the SDK, which only a container needs.
    from nvfp4_serve.runtime.docker_engine import DockerEngine

#: Who the container runs as where the launcher runs as root.
_NOBODY: Final = (2000, 0)


def check_words(
    words: tuple[str, ...], environment: tuple[tuple[str, str], ...] = ()
) -> None:
    """Refuse words after ``--``, and variables, that have no place in a container.

    Raises:
        UsageError: A file that the container does not see.
    """
    faults = [
        f"{value}: a file of this machine, which the container does not see"
        for value in (word.rpartition("=")[2] for word in words)
        if value.startswith(("/", "./", "../")) and Path(value).exists()
    ]
    faults += [
        f"{name}={value}: a file of this machine, which the container does not see"
        for name, value in environment
        if name not in CACHES and value.startswith("/") and Path(value).exists()
    ]
    if faults:
        raise UsageError(
            "Flags after `--`, or variables, cannot be passed to a container.",
            evidence=tuple(dict.fromkeys(faults)),
            fix="Put files into the checkpoint's folder, which is `/model` there; or "
            "use `--runtime local`.",
        )


def check_place(inside: ImageEngine | None) -> None:
    """Refuse to start containers from inside one of ours.

    Raises:
        UsageError: This process runs in an image.
    """
    if inside is not None:
        raise UsageError(
            f"This is a container of the image `{inside.target}` already; it starts "
            "no others.",
            fix="Leave out `--runtime docker`: the engine of this image is used. Or "
            "run `nvfp4-serve` on the machine itself.",
        )


def find_engine(host: Host) -> Container:
    """Return the container engine of this machine.

    Raises:
        EngineError: None answers, or it is another machine's.
    """
    found = read_container(host.gpus)
    if found.engine is None:
        raise EngineError(
            found.problem or f"There is no container engine: {found.reason}.",
            fix=found.fix
            or "Install Docker or Podman 5.4, or use `--runtime local`, which needs "
            "neither.",
        )
    if is_too_old(found.engine, found.version):
        raise EngineError(
            f"Podman {found.version} at {found.address} is too old: its socket drops "
            "requests for GPUs, and more, without a word.",
            fix="Use Podman 5.4 or newer, or Docker; or `--runtime local`.",
        )
    if found.remote:
        raise EngineError(
            f"The container engine at {found.address} is on another machine.",
            evidence=("this machine's GPUs, memory and folders are not its",),
            fix="Run `nvfp4-serve` there, or unset DOCKER_HOST.",
        )
    return found


def prepare(plan: Plan, host: Host, ref: str | None) -> tuple[Plan, DockerRuntime]:
    """Fetch the image; return the plan with its exact name, and what starts it.

    Args:
        plan: How to serve.
        host: The machine.
        ref: The image; None: build it.

    Raises:
        EngineError: Something of it is not there.
        DoesNotFitError: The memory is not free.
    """
    container = find_engine(host)
    # Before anything is fetched: no image would change that.
    gpu_request(plan.gpus, container)
    engine = connect(container)
    if ref is None:
        ref = build_image(host, str(container.address), images_folder(), say)
    image = fetch_image(engine, ref, host.architecture, say)
    if ref != image.exact:
        say(f"the image is {image.exact}; only that name stays what it is")
    order, secrets = _order(plan, host, container, image)
    is_unified = _is_unified(plan, host)
    if is_unified:
        wait_for_memory(plan.budget.weights + plan.budget.overhead, say)
    runtime = DockerRuntime(
        engine,
        say,
        order=order,
        secrets=secrets,
        restart=not is_unified,
        may_kill=not is_unified,
    )
    return order.plan, runtime


def describe(
    plan: Plan, host: Host, ref: str, *, is_keyed: bool = False
) -> dict[str, Any]:
    """Return what would be asked of the container engine; ask for none of it.

    Args:
        plan: What would be served.
        host: The machine.
        ref: The image.
        is_keyed: A key for requests would be made.

    Raises:
        EngineError: It would be refused.
    """
    container = find_engine(host)
    image = find_image(connect(container), ref)
    if image is None:
        say(f"the image {ref} is not here; it would be fetched, and its digest run")
        # What it runs by is not known before it is here.
        named = {SERVE: json.dumps(["THE-COMMAND-OF-THE-IMAGE"])}
        image = Image(ref, ref, (ref,), "linux", "", (), named)
    else:
        check_architecture(image, host.architecture)
    order, _ = _order(plan, host, container, image)
    if is_keyed:
        order = replace(order, secrets=tuple(sorted({*order.secrets, KEY})))
    labels = labels_of(order, "ID")
    return {
        "engine": container.address,
        "name": container_name(plan),
        "secrets": dict.fromkeys(order.secrets, "not shown"),
        "create": container_body(order, labels),
    }


def connect(container: Container) -> "DockerEngine":
    """Return the engine that ``container`` describes.

    Raises:
        EngineError: It does not answer any more.
    """
    return containers.connect(str(container.address), "Nothing was started.")


def render(described: Mapping[str, Any]) -> str:
    """Return what `describe` found as JSON."""
    return json.dumps(described, indent=2)


def _order(
    plan: Plan, host: Host, container: Container, image: Image
) -> tuple[Order, dict[str, str]]:
    """Return the order and its secrets."""
    user = container_user(os.getuid(), os.getgid(), rootless=bool(container.rootless))
    model = mount_model(plan.argv[0], _reader(user)) if plan.mounts else None
    secrets = _secrets(is_download=model is None)
    order = Order(
        plan=replace(plan, image=image.exact),
        image=image,
        container=container,
        command=image_command(image, plan, say),
        model=model,
        user=user,
        capability=_capability(plan, host),
        secrets=tuple(sorted(secrets)),
        variables={} if model else network_variables(),
        hub=None if model else _hub(user),
    )
    return order, secrets


def container_user(uid: int, gid: int, *, rootless: bool) -> tuple[int, int]:
    """Return who the container runs as: who started it, and never the machine's root.

    In an engine without root, the container's root is the user who started the engine.
    """
    if rootless:
        return (0, 0)
    return (uid, gid) if uid else _NOBODY


def _reader(user: tuple[int, int]) -> tuple[int, int]:
    """Return who that is on this machine."""
    return (os.getuid(), os.getgid()) if user == (0, 0) else user


def _secrets(*, is_download: bool) -> dict[str, str]:
    key = given_key()
    token = read_token() if is_download else None
    found = {KEY: key, "HF_TOKEN": token}
    return {name: value for name, value in found.items() if value}


def _hub(user: tuple[int, int]) -> str | None:
    """Return the user's cache of the Hub; None where the container cannot write it."""
    if user == _NOBODY:
        return None
    path = hub_cache()
    path.mkdir(parents=True, exist_ok=True)
    return str(path.resolve())


def _planned(plan: Plan, host: Host) -> list[Any]:
    return [gpu for gpu in host.gpus if gpu.uuid in plan.gpus]


def _capability(plan: Plan, host: Host) -> str:
    gpus = _planned(plan, host)
    return capability_text(gpus[0].compute_capability) if gpus else "cpu"


def _is_unified(plan: Plan, host: Host) -> bool:
    return any(gpu.integrated for gpu in _planned(plan, host))
