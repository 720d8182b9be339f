import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvfp4_serve.errors import ExitCode
from nvfp4_serve.runtime.proc import read_members
from stand_in import running
from stand_in_engine import NAME
from waiting import wait_for


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", *words],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_ps_lists_what_runs_in_both_forms() -> None:
    with running(detached=True) as (_, instance):
        table, data = run("ps"), run("ps", "--json")

        head, row = table.stdout.splitlines()
        assert head.split() == ["ID", "WHERE", "STATE", "STARTED", "URL"]
        assert row.split()[:4] == [instance.id, "pid", str(instance.pid), "running"]
        (listed,) = json.loads(data.stdout)
        assert listed["url"] == instance.url
        assert listed["detached"] is True


def test_ps_of_nothing_says_so_and_gives_no_data() -> None:
    done = run("ps")

    assert (done.returncode, done.stdout) == (ExitCode.OK, "")
    assert done.stderr == "no engine is running\n"


def test_stop_by_port_leaves_nothing() -> None:
    with running(detached=True) as (_, instance):
        done = run("stop", "--port", instance.url.rpartition(":")[2])

        assert done.returncode == ExitCode.OK
        assert "nothing is left running" in done.stderr
        assert read_members(instance.pid) == ()
        assert run("ps", "--json").stdout == "[]\n"


def test_stop_of_nothing_is_an_error() -> None:
    done = run("stop")

    assert done.returncode == ExitCode.ENGINE
    assert "No engine is running." in done.stderr


def test_logs_prints_what_the_engine_wrote() -> None:
    with running(detached=True) as (_, instance):
        wait_for(lambda: "startup complete" in instance.log.read_text())

        assert run("logs", NAME).stdout == instance.log.read_text()


def test_logs_follows_until_the_engine_ends() -> None:
    with running(detached=True) as (runtime, instance):
        command = [sys.executable, "-m", "nvfp4_serve", "logs", "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert "StandIn" in follower.stdout.readline()

            runtime.stop(instance, hurry=lambda: True)

            assert follower.wait(20) == ExitCode.OK


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tcp://[::1", "which is no address"),
        ("ssh://me@host", "the launcher speaks `unix://` and `tcp://`"),
    ],
)
def test_ps_says_why_containers_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch, address: str, says: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)

    done = run("ps", "--json")

    assert (done.returncode, done.stdout) == (ExitCode.OK, "[]\n")
    assert says in done.stderr


def test_the_launcher_of_an_image_says_that_it_cannot_ask_a_container_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
    # As in an image, which has no such package.
    code = "import sys, nvfp4_serve.cli.main as m; sys.modules['docker'] = None"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.argv[1:] = ['ps']; m.main()"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == ExitCode.OK
    assert "lacks the package `docker`" in done.stderr
