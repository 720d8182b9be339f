"""Pins, asked of a real registry that holds a real image for two processors."""

import contextlib
import http.server
import json
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_session import Docker
from registry import RegistryError, read_index
from waiting import wait_for

pytestmark = pytest.mark.docker


@contextlib.contextmanager
def registry(folder: Path, token_server: str | None = None) -> Iterator[str]:
    """Serve ``folder``; with a token server, only to whoever shows a token."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "http": {"addr": address},
    }
    if token_server:
        settings["auth"] = {"silly": {"realm": token_server, "service": "here"}}
    path = folder / "settings.yml"
    path.write_text(json.dumps(settings))
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", path], stdout=log, stderr=log
        )
    try:
        wait_for(lambda: _listens(address))
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _listens(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/"):
        return True
    return False


@contextlib.contextmanager
def token_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"token": "made-up"}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()


@pytest.fixture(scope="module")
def store(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's folder with ``two:1`` for two processors, and ``one:1`` for one."""
    folder = tmp_path_factory.mktemp("registry")
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    with registry(folder) as address:
        for name in ("amd64", "arm64"):
            tag = f"{address}/vllm/{name}:1"
            for_one = ("--provenance=false", f"--platform=linux/{name}", f"--tag={tag}")
            docker.run("buildx", "build", "--load", *for_one, context)
            docker.run("push", tag)
        parts = [f"{address}/vllm/{name}:1" for name in ("amd64", "arm64")]
        target = ("--tag", f"{address}/vllm/two:1")
        docker.run("buildx", "imagetools", "create", *target, *parts)
    return folder


def test_the_digest_of_a_tag_is_the_one_that_docker_pulls(
    docker: Docker, store: Path
) -> None:
    with registry(store) as address:
        found = read_index(f"{address}/vllm/two", "1")
        docker.run("pull", f"{address}/vllm/two@{found.digest}")

    assert found.platforms == ("linux/amd64", "linux/arm64")


def test_a_registry_that_wants_a_token_is_asked_with_one(store: Path) -> None:
    with token_server() as tokens, registry(store, tokens) as address:
        found = read_index(f"{address}/vllm/two", "1")

    assert found.platforms == ("linux/amd64", "linux/arm64")


@pytest.mark.parametrize(
    ("name", "tag", "says"),
    [
        pytest.param("two", "2", "answers 404", id="no-such-tag"),
        pytest.param("amd64", "1", "is no multi-platform image", id="one-platform"),
    ],
)
def test_what_is_not_there_is_an_error(
    store: Path, name: str, tag: str, says: str
) -> None:
    with registry(store) as address, pytest.raises(RegistryError, match=says):
        read_index(f"{address}/vllm/{name}", tag)
