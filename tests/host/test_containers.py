"""The engine's socket: a real Unix socket, with answers of real engines behind it."""

import http.server
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosts import gpu
from imitated_engine import engine, handler, recorded
from nvfp4_serve.host.containers import is_remote, read_container
from nvfp4_serve.host.engine_http import EngineSilentError
from nvfp4_serve.host.types import Attach, Container


def ask(root: Path, **environ: str) -> Container:
    return read_container((gpu(),), environ, root)


def test_no_engine_at_all_is_a_fact(tmp_path: Path) -> None:
    found = ask(tmp_path)

    assert (found.engine, found.address, found.attach) == (None, None, Attach.NONE)
    assert found.problem is None
    assert "no socket" in found.reason


def test_an_engine_is_described_over_its_socket(tmp_path: Path) -> None:
    socket = tmp_path / "s"

    with engine(socket, recorded("docker-28.5-cdi")):
        found = ask(tmp_path, DOCKER_HOST=f"unix://{socket}")

    assert (found.engine, found.version) == ("docker", "28.5.2+dfsg4")
    assert found.address == f"unix://{socket}"
    assert (found.remote, found.rootless) == (False, False)
    assert found.cdi_devices == ("nvidia.com/gpu=0", "nvidia.com/gpu=all")
    assert found.attach is Attach.CDI
    assert found.problem is None


def test_the_specs_are_read_here_where_the_engine_does_not_list_them(
    tmp_path: Path,
) -> None:
    spec = tmp_path / "etc/cdi/nvidia.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"kind": "nvidia.com/gpu", "devices": [{"name": "all"}]}')
    socket = tmp_path / "s"

    with engine(socket, recorded("docker-28.5-plain")):
        found = ask(tmp_path, DOCKER_HOST=f"unix://{socket}")

    assert found.cdi_devices == ("nvidia.com/gpu=all",)
    assert found.attach is Attach.CDI


def test_the_toolkits_hook_beside_the_engine_is_seen(tmp_path: Path) -> None:
    hook = tmp_path / "usr/bin/nvidia-container-runtime-hook"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    socket = tmp_path / "s"

    with engine(socket, recorded("docker-20.10-plain")):
        found = ask(tmp_path, DOCKER_HOST=f"unix://{socket}")

    assert found.attach is Attach.DEVICE_REQUEST


@pytest.mark.parametrize(
    ("present", "address"),
    [
        (
            ["var/run/docker.sock", "run/podman/podman.sock"],
            "unix:///var/run/docker.sock",
        ),
        (["run/user/7/docker.sock"], "unix:///run/user/7/docker.sock"),
        (["run/user/7/podman/podman.sock"], "unix:///run/user/7/podman/podman.sock"),
        (["run/podman/podman.sock"], "unix:///run/podman/podman.sock"),
    ],
)
def test_the_usual_sockets_are_looked_for_in_order(
    tmp_path: Path, present: list[str], address: str
) -> None:
    for name in present:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    asked: list[str] = []

    def connect(to: str) -> Any:
        asked.append(to)
        return recorded("docker-28.5-plain").__getitem__

    read_container((), {"XDG_RUNTIME_DIR": "/run/user/7"}, tmp_path, connect)

    assert asked == [address]


def test_a_socket_without_permission_is_a_fact_with_a_fix(tmp_path: Path) -> None:
    def connect(_: str) -> Any:
        def get(_: str) -> dict[str, Any]:
            raise PermissionError(13, "Permission denied")

        return get

    found = read_container((), {"DOCKER_HOST": "unix:///s"}, tmp_path, connect)

    assert found.engine is None
    assert "permission denied" in (found.problem or "")
    assert "usermod -aG docker" in (found.fix or "")


@pytest.fixture
def _somebody() -> Iterator[None]:
    """Be a user without rights where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("_somebody")
def test_a_real_socket_that_is_closed_to_this_user_is_told_from_a_missing_one() -> None:
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "s"
        with engine(socket, {}):
            socket.chmod(0)
            found = ask(Path(folder), DOCKER_HOST=f"unix://{socket}")

    assert "permission denied" in (found.problem or "")


def test_an_engine_on_a_port_is_asked_too(tmp_path: Path) -> None:
    answers = recorded("docker-28.5-nvidia-runtime")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(answers)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = ask(tmp_path, DOCKER_HOST=f"tcp://127.0.0.1:{server.server_port}")
        server.shutdown()

    assert (found.engine, found.remote) == ("docker", False)
    assert found.attach is Attach.DEVICE_REQUEST


@pytest.mark.parametrize(
    ("answers", "status", "says"),
    [
        pytest.param({"/version": b"<html>"}, 200, "not JSON", id="no-json"),
        pytest.param({"/version": b"[]"}, 200, "not a JSON object", id="list"),
        pytest.param({"/version": b"{}"}, 500, "HTTP 500", id="sick"),
        pytest.param(
            {"/version": b" " * (4 << 20) + b"{}"}, 200, "over 4 MiB", id="endless"
        ),
    ],
)
def test_what_answers_and_is_no_engine_is_named(
    tmp_path: Path, answers: dict[str, Any], status: int, says: str
) -> None:
    socket = tmp_path / "s"

    with engine(socket, answers, status):
        found = ask(tmp_path, DOCKER_HOST=f"unix://{socket}")

    assert found.engine is None
    assert says in (found.problem or "")
    assert found.fix


@pytest.mark.parametrize(
    "address",
    [
        "unix://",
        f"unix:///{'x' * 200}",
        "tcp://127.0.0.1:1",
        f"tcp://{'a' * 70}.{'b' * 70}:1",
        "tcp://",
    ],
)
def test_an_address_that_leads_nowhere_is_a_fact(tmp_path: Path, address: str) -> None:
    found = ask(tmp_path, DOCKER_HOST=address)

    assert found.engine is None
    assert found.problem
    assert found.fix


def test_a_socket_where_nothing_listens_is_named(tmp_path: Path) -> None:
    found = ask(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none.sock")

    assert "Nothing listens" in (found.problem or "")
    assert "unset DOCKER_HOST" in (found.fix or "")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DOCKER_HOST": "ssh://me@spark"}, "speaks `unix://` and `tcp://`"),
        ({"DOCKER_HOST": "nonsense"}, "speaks `unix://` and `tcp://`"),
        ({"DOCKER_HOST": "tcp://spark:99999"}, "no address"),
        ({"DOCKER_HOST": "tcp://[::1"}, "no address"),
        ({"DOCKER_HOST": "tcp://spark:2376", "DOCKER_TLS_VERIFY": "1"}, "wants TLS"),
    ],
)
def test_an_engine_out_of_reach_is_not_asked(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    def connect(_: str) -> Any:
        pytest.fail("it was asked")

    found = read_container((), environ, tmp_path, connect)

    assert says in (found.problem or "")
    assert found.fix


@pytest.mark.parametrize(
    ("address", "remote"),
    [
        ("unix:///var/run/docker.sock", False),
        ("tcp://127.0.0.1:2375", False),
        ("tcp://localhost:2375", False),
        ("tcp://[::1]:2375", False),
        ("tcp://spark:2375", True),
        ("ssh://me@spark", True),
    ],
)
def test_an_engine_on_another_machine_is_remote(address: str, remote: bool) -> None:
    assert is_remote(address) is remote


def test_the_files_and_gpus_of_this_machine_say_nothing_of_a_remote_engine(
    tmp_path: Path,
) -> None:
    spec = tmp_path / "etc/cdi/nvidia.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"kind": "nvidia.com/gpu", "devices": [{"name": "all"}]}')
    answers = recorded("docker-28.5-plain")

    found = read_container(
        (gpu(capability=(11, 0)),),
        {"DOCKER_HOST": "tcp://spark:2375"},
        tmp_path,
        lambda _: answers.__getitem__,
    )

    assert found.remote
    assert found.cdi_devices == ()
    assert found.attach is Attach.NONE


def test_an_engine_that_hangs_up_is_named(tmp_path: Path) -> None:
    def connect(_: str) -> Any:
        def get(_: str) -> dict[str, Any]:
            raise EngineSilentError("it does not speak HTTP")

        return get

    found = read_container((), {"DOCKER_HOST": "unix:///s"}, tmp_path, connect)

    assert "did not answer: it does not speak HTTP" in (found.problem or "")
