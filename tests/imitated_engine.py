"""A container engine that answers as one was recorded, on a real Unix socket."""

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENGINES = Path(__file__).parent / "data/hosts/engines"


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def handler(
    answers: dict[str, Any], status: int = 200
) -> type[http.server.BaseHTTPRequestHandler]:
    """Return what answers ``GET``; bytes are sent as they are."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers[self.path]
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def engine(path: Path, answers: dict[str, Any], status: int = 200) -> Iterator[None]:
    """Answer ``GET`` on the Unix socket ``path``."""
    with _UnixServer(str(path), handler(answers, status)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def recorded(name: str) -> dict[str, Any]:
    data = json.loads((ENGINES / f"{name}.json").read_text())
    return {"/version": data["version"], "/info": data["info"]}
