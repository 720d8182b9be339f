"""The container engine of this machine -> Container. Asks its socket; starts nothing.

Only `nvfp4-serve host` pays for this: no plan depends on it.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from nvfp4_serve.host.attach import Answers, choose_attach, read_answers
from nvfp4_serve.host.cdi import SPEC_DIRS, read_cdi_devices
from nvfp4_serve.host.engine_http import EngineSilentError, engine_getter
from nvfp4_serve.host.types import Attach, Container, Gpu

_HOOK: Final = "nvidia-container-runtime-hook"
#: Where the engine looks for the hook, on its PATH rather than on the user's.
_HOOK_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Getter = Callable[[str], dict[str, Any]]


def read_container(
    gpus: Iterable[Gpu],
    environ: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
    connect: Callable[[str], Getter] = engine_getter,
) -> Container:
    """Return the container engine, and how GPUs attach to it.

    That there is none, or that it does not answer, is a fact and not an error.

    Args:
        gpus: Of this machine.
        environ: ``DOCKER_HOST`` and ``XDG_RUNTIME_DIR`` count.
        root: The root of the file system that holds the sockets and CDI specs.
        connect: Returns what gets a path of the API at an address.
    """
    address = engine_address(environ, root)
    if address is None:
        return _nothing(None, reason="no socket of Docker or Podman was found")
    if problem := out_of_reach(address, environ):
        return _nothing(address, *problem, reason="the engine was not asked")
    get = connect(address)
    try:
        answers = read_answers(get("/version"), get("/info"))
    except (OSError, EngineSilentError) as error:
        return _nothing(
            address, *_why_silent(address, error), reason="the engine did not answer"
        )
    return _described(address, answers, gpus, root)


def engine_address(environ: Mapping[str, str], root: Path) -> str | None:
    """Return the address that Docker's own programs would use; None without any.

    ``DOCKER_HOST``; else the sockets of Docker, rootless Docker, rootless Podman and
    Podman. Docker contexts are not read.
    """
    if asked := environ.get("DOCKER_HOST", "").strip():
        return asked
    mine = environ.get("XDG_RUNTIME_DIR")
    paths = (
        "/var/run/docker.sock",
        *((f"{mine}/docker.sock", f"{mine}/podman/podman.sock") if mine else ()),
        "/run/podman/podman.sock",
    )
    return next((f"unix://{path}" for path in paths if _is_there(root, path)), None)


def _is_there(root: Path, path: str) -> bool:
    try:
        return (root / path.lstrip("/")).exists()
    except PermissionError:
        # Its folder is closed to this user: the engine is another user's.
        return False


def _described(
    address: str, answers: Answers, gpus: Iterable[Gpu], root: Path
) -> Container:
    remote = is_remote(address)
    folders = answers.cdi_spec_dirs or (SPEC_DIRS if answers.engine == "podman" else ())
    devices = answers.cdi_devices
    if devices is None:
        # Docker before API 1.50, Podman, and Docker without any do not list them; the
        # files of another machine cannot be read.
        devices = () if remote else read_cdi_devices(folders, root)
    attach, reason = choose_attach(
        answers,
        devices,
        # The GPUs of this machine say nothing of a remote one.
        frozenset() if remote else frozenset(gpu.compute_capability for gpu in gpus),
        has_hook=not remote and shutil.which(_HOOK, path=_paths(root)) is not None,
    )
    return Container(
        engine=answers.engine,
        address=address,
        remote=remote,
        version=answers.version or None,
        rootless=answers.rootless,
        runtimes=answers.runtimes,
        cdi_spec_dirs=folders,
        cdi_devices=devices,
        attach=attach,
        reason=reason,
    )


def _paths(root: Path) -> str:
    return ":".join(str(root / path.lstrip("/")) for path in _HOOK_PATH.split(":"))


def is_remote(address: str) -> bool:
    """Say whether the engine at ``address`` runs on another machine."""
    try:
        parts = urlsplit(address)
    except ValueError:
        # No address at all; that is said elsewhere.
        return False
    return parts.scheme != "unix" and parts.hostname not in _LOOPBACK


def _nothing(
    address: str | None,
    problem: str | None = None,
    fix: str | None = None,
    *,
    reason: str,
) -> Container:
    return Container(
        engine=None,
        address=address,
        remote=address is not None and is_remote(address),
        version=None,
        rootless=None,
        runtimes=(),
        cdi_spec_dirs=(),
        cdi_devices=(),
        attach=Attach.NONE,
        reason=reason,
        problem=problem,
        fix=fix,
    )


def out_of_reach(address: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return why the engine at ``address`` cannot be asked, and what to do."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        return (
            f"DOCKER_HOST is {address!r}, which is no address: {error}.",
            "Set it to `unix:///path` or `tcp://host:port`, or unset it.",
        )
    if parts.scheme not in {"unix", "tcp"}:
        return (
            f"DOCKER_HOST is {address!r}; the launcher speaks `unix://` and `tcp://`.",
            "Run `nvfp4-serve host` on that machine, or unset DOCKER_HOST.",
        )
    if parts.scheme == "tcp" and environ.get("DOCKER_TLS_VERIFY"):
        return (
            (
                f"The engine at {address} wants TLS (DOCKER_TLS_VERIFY); the launcher "
                "does not speak it."
            ),
            "Run `nvfp4-serve host` on that machine, or unset DOCKER_HOST.",
        )
    return None


def _why_silent(address: str, error: Exception) -> tuple[str, str]:
    path = urlsplit(address).path
    if isinstance(error, PermissionError):
        return (
            f"The engine's socket {path} may not be opened: permission denied.",
            (
                "Run as a member of the socket's group (`sudo usermod -aG docker "
                "$USER`, then log in again), or use rootless Docker."
            ),
        )
    if isinstance(error, OSError) and error.errno in {
        errno.ENOENT,
        errno.ECONNREFUSED,
    }:
        return (
            f"Nothing listens at {address}.",
            (
                "Start the engine (`sudo systemctl start docker`), or unset "
                "DOCKER_HOST if it names the wrong one."
            ),
        )
    return (
        f"The engine at {address} did not answer: {error}.",
        "Look at what `docker info` says.",
    )
