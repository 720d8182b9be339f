"""Speaks to an engine over HTTP; the standard library only, since start-up counts."""

import http.client
import json
import urllib.parse
from typing import Any, Final

from nvfp4_serve.ready.types import Watched

#: An answer of the gate's own small questions; more than this is not one.
_MAX_ANSWER: Final = 16 << 20


class Unanswered(Exception):  # noqa: N818 - it says what happened
    """No HTTP answer came: refused, broken off, or too late."""


def ask(
    engine: Watched, path: str, body: object | None = None, *, seconds: float
) -> tuple[int, bytes]:
    """Return status and content of the engine's answer; POST where there is a body.

    Raises:
        Unanswered: No answer came within ``seconds``.
    """
    parts = urllib.parse.urlsplit(engine.url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=max(seconds, 0.01)
    )
    headers = {"Content-Type": "application/json"}
    if engine.api_key:
        headers["Authorization"] = f"Bearer {engine.api_key}"
    try:
        connection.request(
            "GET" if body is None else "POST",
            path,
            None if body is None else json.dumps(body).encode(),
            headers,
        )
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER)
    except TimeoutError as error:
        raise Unanswered(f"no answer within {seconds:.0f} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def parse_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in ``content``, or None when it is not one."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
