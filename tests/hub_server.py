"""A small Hub on the loopback: what huggingface_hub asks of the real one, over HTTP.

It serves folders as models, counts every exchange, and can misbehave on demand. Point
huggingface_hub at it with ``HF_ENDPOINT`` before it is imported.
"""

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/models/(?P<id>.+?)(/(?P<what>revision|tree)/(?P<rev>[^/]+))?$")
_FILE = re.compile(r"(/cdn)?/(?P<id>.+?)/resolve/(?P<rev>[^/]+)/(?P<name>.+)")
_CHUNK = 1 << 16
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the answer's body."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    status: int
    sent: int

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Hub:
    """The server's state; tests set the misbehaviour before they ask.

    Attributes:
        models: Id to the folder that holds its files.
        gated: Ids that answer 403 with ``X-Error-Code: GatedRepo``.
        redirects: Send files through a redirect to ``/cdn``, as the Hub does.
        redirects_to: The same, to another host: the address of another server.
        ignores_range: Answer every range with 200 and the whole file.
        cuts: Send only this many bytes of every shard's header, then close.
        failing: Status for every shard, or None.
        fails_first: Answer this many requests for shards with 503, then behave.
    """

    url: str
    models: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    redirects: bool = False
    redirects_to: str | None = None
    ignores_range: bool = False
    cuts: int | None = None
    failing: int | None = None
    fails_first: int = 0
    answer_with_page: bool = False
    log: list[Exchange] = field(default_factory=list)

    def shard_exchanges(self) -> dict[str, list[Exchange]]:
        """Return what was asked of each shard, redirects not counted."""
        found: dict[str, list[Exchange]] = {}
        for exchange in self.log:
            if exchange.name.endswith(".safetensors") and exchange.status != 302:
                found.setdefault(exchange.name, []).append(exchange)
        return found

    def bytes_sent(self) -> int:
        """Return the bytes of all bodies, as far as the client took them."""
        return sum(exchange.sent for exchange in self.log)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a Hub on a free port of the loopback; end it on the way out."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # 64 shards are asked for 16 at a time; the default of 5 would drop some.
    request_queue_size = 128
    hub: Hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing; tests read ``Hub.log``."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.server.hub.answer_with_page:
            self._send(200, b"<html>Log in</html>", {"Content-Type": "text/html"})
        elif api := _API.fullmatch(path):
            self._model(api["id"], api["what"], api["rev"])
        elif file := _FILE.fullmatch(path):
            self._file(file["id"], file["rev"], file["name"])
        else:
            self._refuse(404, "NotFound")

    def _model(self, name: str, what: str | None, revision: str | None) -> None:
        folder = self._folder(name, revision)
        if folder is None:
            return
        files = sorted(f for f in folder.rglob("*") if f.is_file())
        names = [f.relative_to(folder).as_posix() for f in files]
        if what == "tree":
            entries = [
                {"type": "file", "path": n, "size": f.stat().st_size, "oid": _etag(f)}
                for n, f in zip(names, files, strict=True)
            ]
            self._send(200, json.dumps(entries).encode())
            return
        siblings = [{"rfilename": n} for n in names]
        info = {"id": name, "sha": COMMIT, "siblings": siblings}
        self._send(200, json.dumps(info).encode())

    def _folder(self, name: str, revision: str | None) -> Path | None:
        hub = self.server.hub
        if name in hub.gated:
            self._refuse(403, "GatedRepo")
        elif name not in hub.models:
            # The Hub does not tell strangers what is private and what is not there.
            self._refuse(401, "RepoNotFound")
        elif revision not in (None, "main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            return hub.models[name]
        return None

    def _file(self, model: str, revision: str, name: str) -> None:
        hub, folder = self.server.hub, self._folder(model, revision)
        if folder is None:
            return
        path = folder / name
        is_shard = name.endswith(".safetensors")
        if not path.is_file():
            self._refuse(404, "EntryNotFound")
        elif (hub.redirects or hub.redirects_to) and not self.path.startswith("/cdn"):
            host = hub.redirects_to or hub.url
            self._send(302, b"", {"Location": f"{host}/cdn{self.path}"})
        elif is_shard and hub.failing is not None:
            self._refuse(hub.failing, "")
        elif is_shard and hub.fails_first > 0:
            hub.fails_first -= 1
            self._refuse(503, "")
        else:
            self._content(path, cut=hub.cuts if is_shard else None)

    def _content(self, path: Path, *, cut: int | None) -> None:
        size = path.stat().st_size
        begin, end, status = 0, size, 200
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked and not self.server.hub.ignores_range:
            begin = int(asked[1])
            end = min(int(asked[2]) + 1 if asked[2] else size, size)
            status = 206
        if begin >= size and status == 206:
            self._refuse(416, "")
            return
        headers = {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": COMMIT}
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        with path.open("rb") as file:
            file.seek(begin)
            self._send_file(status, file, end - begin, headers, cut=cut)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code} if code else {})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self._send_file(status, io.BytesIO(body), len(body), headers or {}, cut=None)

    def _send_file(
        self,
        status: int,
        body: BinaryIO,
        length: int,
        headers: dict[str, str],
        *,
        cut: int | None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        left = 0 if self.command == "HEAD" else length
        if cut is not None and left > cut:
            left, self.close_connection = cut, True
        self._send_body(status, body, left)

    def _send_body(self, status: int, body: BinaryIO, left: int) -> None:
        """Send what is announced; log it before its last byte is on its way.

        So whoever has the whole answer finds it in the log.
        """
        sent = 0
        if not left:
            self._log(status, sent)
        try:
            self.end_headers()
            while chunk := body.read(min(left - sent, _CHUNK)):
                sent += len(chunk)
                if sent == left:
                    self._log(status, sent)
                self.wfile.write(chunk)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if sent < left:
            self._log(status, sent)

    def _log(self, status: int, sent: int) -> None:
        asked = self.headers
        self.server.hub.log.append(
            Exchange(
                method=self.command,
                path=self.path,
                range=asked.get("Range"),
                authorization=asked.get("Authorization"),
                status=status,
                sent=sent,
            )
        )


def _etag(path: Path) -> str:
    """Return a digest of what identifies the file; bodies may be sparse and huge."""
    stat = path.stat()
    return hashlib.sha256(
        f"{path}{stat.st_size}{stat.st_mtime_ns}".encode()
    ).hexdigest()
