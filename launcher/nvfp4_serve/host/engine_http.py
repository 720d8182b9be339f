"""One GET to a container engine's API socket. The only socket of this room."""

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

#: Seconds. A local engine answers in milliseconds, a remote one in a round trip; a
#: stuck one must not hold up a person who asked what machine this is.
_TIMEOUT: Final = 2.0
#: The answers of an engine with thousands of CDI devices are well below that.
_MAX_BYTES: Final = 4 << 20


class EngineSilentError(Exception):
    """The engine did not answer with JSON; the message says what it did instead."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def engine_getter(address: str) -> Callable[[str], dict[str, Any]]:
    """Return a function that gets a path of the engine's API at ``address``.

    It raises PermissionError or OSError where the socket does, and EngineSilentError
    where what answers is not such an engine.

    Args:
        address: ``unix:///path`` or ``tcp://host:port``.
    """

    def get(path: str) -> dict[str, Any]:
        parts = urlsplit(address)
        connection = (
            _UnixConnection(parts.path)
            if parts.scheme == "unix"
            else http.client.HTTPConnection(
                parts.hostname or "", parts.port or 2375, timeout=_TIMEOUT
            )
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            raw = answer.read(_MAX_BYTES + 1)
        except http.client.HTTPException as error:
            raise EngineSilentError(f"it does not speak HTTP ({error!r})") from error
        except UnicodeError as error:
            raise EngineSilentError(f"that is no host name ({error})") from error
        finally:
            connection.close()
        return _parsed(answer.status, raw)

    return get


def _parsed(status: int, raw: bytes) -> dict[str, Any]:
    if status != http.client.OK:
        raise EngineSilentError(f"HTTP {status}")
    if len(raw) > _MAX_BYTES:
        raise EngineSilentError("its answer is over 4 MiB")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise EngineSilentError(f"its answer is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise EngineSilentError("its answer is not a JSON object")
    return data
