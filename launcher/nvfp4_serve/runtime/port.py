"""Whether an address is free, asked before an engine spends a minute to find out."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.proc import read_listener
from nvfp4_serve.runtime.types import Instance

_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound


def split_bind(bind: str) -> tuple[str, int]:
    """Return address and port of ``127.0.0.1:8000`` or ``[::1]:8000``."""
    host, _, port = bind.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def url_of(bind: str) -> str:
    """Return the URL at which this machine reaches what is bound to ``bind``."""
    host, port = split_bind(bind)
    if host in _ANY:
        host = "::1" if host == "::" else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def published_address(host: str) -> str:
    """Return the address at which a port is published; never an engine's default.

    Docker takes a name for no address at all, and publishes at every address of the
    machine: shown with 20.10.24 and 28.5.2, ``HostIp: localhost``.

    Raises:
        EngineError: ``host`` is a name that may mean anything.
    """
    if host in {"", "localhost"}:
        return "127.0.0.1" if host else "0.0.0.0"  # noqa: S104 - it was asked for
    try:
        return str(ipaddress.ip_address(host))
    except ValueError as error:
        raise EngineError(
            f"A container's port cannot be published at the name `{host}`.",
            fix="Give an address of this machine, as `--host 127.0.0.1`.",
        ) from error


def check_free(bind: str, living: Iterable[Instance]) -> None:
    """Check that ``bind`` can be bound.

    vLLM binds its port minutes before it listens, with SO_REUSEADDR; the kernel lets
    another do the same until then. So our own instances are asked as well.

    Raises:
        EngineError: It is taken, forbidden or not an address of this machine.
    """
    host, port = split_bind(bind)
    for instance in living:
        if instance.url.endswith(f":{port}"):
            raise _taken(bind, f"the engine `{instance.id}` (pid {instance.pid})")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise EngineError(
            f"The address `{host}` cannot be resolved: {error.strerror}.",
            fix="Give an address of this machine, as `--host 127.0.0.1`.",
        ) from error
    except OSError as error:
        raise _explain(error, bind, port) from error


def _explain(error: OSError, bind: str, port: int) -> EngineError:
    if error.errno == errno.EADDRINUSE:
        return _taken(bind, read_listener(port))
    fixes = {
        errno.EACCES: "Take a port above 1023, as `--port 8000`.",
        errno.EADDRNOTAVAIL: "Give an address of this machine, as `--host 127.0.0.1`.",
    }
    return EngineError(
        f"`{bind}` cannot be bound: {os.strerror(error.errno or 0)}.",
        fix=fixes.get(error.errno or 0, "Give another address or port."),
    )


def _taken(bind: str, by: str | None) -> EngineError:
    return EngineError(
        f"`{bind}` is in use"
        + (f" by {by}." if by else "; another user's process has it."),
        fix="Stop it, or take another port with `--port`.",
    )
