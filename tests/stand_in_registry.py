"""A registry that answers what a test tells it to, one request after another."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

OCI = "application/vnd.oci.image.index.v1+json"


def index(*platforms: str) -> bytes:
    pairs = [platform.split("/") for platform in platforms]
    manifests = [{"platform": {"os": o, "architecture": a}} for o, a in pairs]
    return json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()


BOTH = index("linux/arm64", "linux/amd64", "unknown/unknown")


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": OCI})


@contextlib.contextmanager
def registry(*answers: Answer) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answer one request after another; yield the address, and what was asked."""
    left, asked = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append({"path": self.path, **dict(self.headers)})
            answer = left.pop(0)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value.replace("HERE", self.headers["Host"]))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}/vllm/vllm-openai", asked
        finally:
            server.shutdown()
            thread.join()
