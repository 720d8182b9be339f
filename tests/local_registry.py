"""Registries for tests: a real one on this machine, and a slow one."""

import contextlib
import hashlib
import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from stand_in import free_port
from waiting import wait_for

#: "sesame" as bcrypt; the user is "me".
_PASSWORDS: Final = "me:$2y$05$wPLe8FyJVXvR6Ja1PoiqxOP0fY5fOJzwH0Ff4X2f6QxqBq0sBzXG2\n"
_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


def missing() -> str | None:
    """Say what keeps a registry from being started here; None if nothing does."""
    if shutil.which("docker-registry") is None:
        return "no `docker-registry`; `apt-get install docker-registry` brings it"
    return None


@contextlib.contextmanager
def registry(folder: Path, *, closed: bool = False) -> Iterator[str]:
    """Run a real registry; yield its address, as it stands in front of a name.

    Args:
        folder: Empty; for its files.
        closed: It wants a name and a password.
    """
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "passwords").write_text(_PASSWORDS)
    password = {"htpasswd": {"realm": "test", "path": str(folder / "passwords")}}
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": password} if closed else {}),
    }
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            wait_for(lambda: _answers(port))
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def put_foreign(address: str, image: str, tag: str, architecture: str) -> None:
    """Put a tag beside ``image:1`` that says that this is for ``architecture``."""
    url = f"http://{address}/v2/{image}/manifests"
    with _open(f"{url}/1", headers={"Accept": _MANIFEST}) as answer:
        manifest = answer.read()
    entry = {
        "mediaType": _MANIFEST,
        "size": len(manifest),
        "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        "platform": {"os": "linux", "architecture": architecture},
    }
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
    _open(
        f"{url}/{tag}",
        data=json.dumps(index).encode(),
        headers={"Content-Type": _INDEX},
        method="PUT",
    ).close()


def _open(url: str, **request: Any) -> Any:
    asked = urllib.request.Request(url, **request)  # noqa: S310 - http, to ourselves
    return urllib.request.urlopen(asked, timeout=10)  # noqa: S310 - as above


def _answers(port: int) -> bool:
    try:
        _open(f"http://127.0.0.1:{port}/v2/").close()
    except urllib.error.HTTPError:
        pass  # It wants a password.
    except OSError:
        return False
    return True


class _Slow(http.server.BaseHTTPRequestHandler):
    """Serves an image of one large layer, at 5 MiB/s."""

    protocol_version = "HTTP/1.1"
    _CONFIG = b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers"}}'
    _SIZE = 1 << 30

    def do_GET(self) -> None:
        config = f"sha256:{hashlib.sha256(self._CONFIG).hexdigest()}"
        layer = f"sha256:{'1' * 64}"
        if "/manifests/" in self.path:
            content = {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(self._CONFIG),
                    "digest": config,
                },
                "layers": [
                    {
                        "mediaType": (
                            "application/vnd.docker.image.rootfs.diff.tar.gzip"
                        ),
                        "size": self._SIZE,
                        "digest": layer,
                    }
                ],
            }
            self._answer(json.dumps(content).encode(), _MANIFEST)
        elif self.path.endswith(config):
            self._answer(self._CONFIG, "application/octet-stream")
        elif self.path.endswith(layer):
            self._send_slowly()
        else:
            self._answer(b"{}", "application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _send_slowly(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self._SIZE))
        self.end_headers()
        piece = b"x" * (1 << 20)
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(piece)
                time.sleep(0.2)

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def slow_registry() -> Iterator[str]:
    """Run a registry that takes minutes for a layer; yield its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        server.daemon_threads = True
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
