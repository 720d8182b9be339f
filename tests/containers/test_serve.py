"""Serving in containers of a real engine; what runs in them is the stand-in."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from container_images import make_base, make_image
from container_runs import EXAMPLE, RIGHT, Launcher, connect
from docker_engine import running_engine
from nvfp4_serve.errors import ExitCode

#: A runtime that quietly sets limits lower than it is asked.
_CLIP = f"""\
#!{sys.executable} -IS
import json, os, sys
words = sys.argv[1:]
if "create" in words or "run" in words:
    folder = words[words.index("--bundle") + 1] if "--bundle" in words else "."
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    most = {{"RLIMIT_NOFILE": 1024, "RLIMIT_MEMLOCK": 65536}}
    for limit in config["process"].get("rlimits") or []:
        if limit["type"] in most:
            limit["soft"] = limit["hard"] = most[limit["type"]]
    json.dump(config, open(path, "w"))
os.execvp("runc", ["runc", *words])
"""


def test_a_checkpoint_is_served_listed_and_stopped(launcher: Launcher) -> None:
    done = launcher.serve("--detach")
    (row,) = json.loads(launcher.run("ps", "--json").stdout)
    table = launcher.run("ps").stdout
    log = launcher.run("logs", "--port", str(launcher.port)).stdout
    stopped = launcher.run("stop", row["id"])

    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stdout.splitlines()[0] == row["url"]
    assert (row["runtime"], row["container"]) == ("docker", launcher.name)
    assert (row["state"], row["detached"]) == ("running", True)
    assert launcher.name in table
    assert "Resolved architecture: StandIn" in log
    assert stopped.returncode == ExitCode.OK
    assert launcher.run("ps", "--json").stdout == "[]\n"


def test_what_it_prints_to_try_works(launcher: Launcher) -> None:
    done = launcher.serve("--detach")

    answer = subprocess.run(
        ["bash", "-c", done.stdout.splitlines()[1]],
        capture_output=True,
        text=True,
        check=True,
    )
    launcher.run("stop")

    assert '"choices"' in answer.stdout


def test_the_log_stays_for_some_days(launcher: Launcher) -> None:
    with launcher.detached() as found:
        identity = found["Config"]["Labels"]["org.nvfp4-serve.instance"]

    log = launcher.home / "state/nvfp4-serve/instances" / identity / "engine.log"
    assert "Resolved architecture: StandIn" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_and_leaves_nothing(
    launcher: Launcher, number: signal.Signals
) -> None:
    with launcher.started() as process:
        launcher.wait_until_said("Ctrl-C stops it")

        process.send_signal(number)

        assert process.wait(30) == ExitCode.INTERRUPTED
    assert "the engine is stopped; nothing is left running" in launcher.said()


def test_an_engine_that_does_not_heed_sigterm_is_killed_at_the_second(
    launcher: Launcher, client: Any
) -> None:
    make_image(client, "stand-in:deaf", "deaf")

    with launcher.started(image="stand-in:deaf") as process:
        launcher.wait_until_said("Ctrl-C stops it")
        process.send_signal(signal.SIGINT)
        launcher.wait_until_said("Ctrl-C again")
        process.send_signal(signal.SIGINT)

        assert process.wait(30) == ExitCode.INTERRUPTED


def test_the_container_is_closed_as_far_as_an_engine_allows(
    launcher: Launcher,
) -> None:
    with launcher.detached() as found:
        host = found["HostConfig"]
        log = launcher.run("logs").stdout
        said = launcher.inside("grep -E 'Cap(Eff|Prm)|NoNewPrivs' /proc/1/status")
        user = launcher.inside("id -u")

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Privileged"], host["PidMode"], host["IpcMode"]) == (
        False,
        "",
        "private",
    )
    assert host["ShmSize"] == 16 << 30
    assert said.split() == [
        *("CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1")
    ]
    assert user.strip() == "2000"
    assert "/ is read-only\n/model is read-only\n/tmp is writable\n" in log
    assert "/cache/vllm is writable" in log


def test_nobody_but_this_machine_may_connect_unasked(launcher: Launcher) -> None:
    with launcher.detached() as found:
        bindings = found["NetworkSettings"]["Ports"][f"{launcher.port}/tcp"]

    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(launcher.port)}]


def test_localhost_is_this_machine_alone_whatever_the_engine_makes_of_names(
    launcher: Launcher,
) -> None:
    with launcher.detached("--host", "localhost") as found:
        asked = found["HostConfig"]["PortBindings"][f"{launcher.port}/tcp"]

    assert asked == [{"HostIp": "127.0.0.1", "HostPort": str(launcher.port)}]


def test_a_resource_limit_that_the_engine_cannot_set_is_left_out_and_said(
    launcher: Launcher,
) -> None:
    done = launcher.serve("--detach")
    limits = launcher.inspect()["HostConfig"]["Ulimits"]
    launcher.run("stop")

    assert done.returncode == ExitCode.OK
    asked = {limit["Name"]: limit["Soft"] for limit in limits}
    assert asked["stack"] == 64 << 20
    for name in ("memlock", "nofile"):
        is_said = f"cannot set {name}; starting without" in done.stderr
        assert is_said == (name not in asked)


def test_a_limit_that_the_engine_quietly_sets_lower_is_said(tmp_path: Path) -> None:
    clip = tmp_path / "runc-clip"
    clip.write_text(_CLIP)
    clip.chmod(0o755)
    settings: dict[str, Any] = {
        "default-runtime": "clip",
        "runtimes": {"clip": {"path": str(clip)}},
    }
    with running_engine(**settings) as address:
        client = connect(address)
        make_base(client)
        make_image(client, RIGHT, "right")
        done = Launcher(address, tmp_path, client).serve("--detach")
        client.close()

    assert done.returncode == ExitCode.OK, done.stderr
    assert "set nofile to 1024, not 1048576" in done.stderr
    assert "set memlock to 65536, not no limit" in done.stderr


def test_it_is_started_again_only_once_it_was_right(launcher: Launcher) -> None:
    with launcher.started():
        launcher.wait_until_said("engine started")
        before = launcher.inspect()["HostConfig"]["RestartPolicy"]["Name"]
        launcher.wait_until_said("Ctrl-C stops it")
    with launcher.detached() as found:
        after = found["HostConfig"]["RestartPolicy"]["Name"]

    assert (before, after) == ("no", "unless-stopped")


def test_a_model_in_the_hubs_cache_is_seen_through_its_links(
    launcher: Launcher, tmp_path: Path
) -> None:
    folder = tmp_path / "hub with: colon" / "models--me--sonnet"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    for file in EXAMPLE.iterdir():
        (folder / "blobs" / file.name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    words = launcher.words("--detach", "--served-model-name", "sonnet-18-nvfp4")
    words[1] = str(snapshot)

    done = launcher.run(*words)
    found = launcher.inspect()
    launcher.run("stop")

    assert done.returncode == ExitCode.OK, done.stderr
    assert f"/model/snapshots/{'a' * 40}" in found["Args"]
    assert str(folder) in [mount["Source"] for mount in found["Mounts"]]


def test_it_runs_on_when_the_launcher_has_gone(launcher: Launcher) -> None:
    with launcher.detached():
        url = f"http://127.0.0.1:{launcher.port}/health"

        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200


def test_the_cache_is_for_one_image_and_one_kind_of_machine(
    launcher: Launcher,
) -> None:
    with launcher.detached() as found:
        image = found["Image"].removeprefix("sha256:")[:12]
        (cache,) = [m["Name"] for m in found["Mounts"] if m["Destination"] == "/cache"]

    assert cache == f"nvfp4-serve-{image}-cpu-2000"


def test_following_the_log_ends_when_the_engine_does(launcher: Launcher) -> None:
    with (
        launcher.detached(),
        subprocess.Popen(
            [sys.executable, "-m", "nvfp4_serve", "logs", "-f"],
            env=launcher.environment,
            stdout=subprocess.PIPE,
        ) as follower,
    ):
        assert follower.stdout is not None
        follower.stdout.readline()
        launcher.run("stop")

        assert follower.wait(20) == ExitCode.OK
