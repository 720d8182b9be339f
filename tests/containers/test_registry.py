"""Images that are fetched first: from a real registry, and from a slow one."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import local_registry
from container_images import make_image
from container_runs import RIGHT, Launcher, connect
from docker_engine import running_engine
from local_registry import put_foreign, registry, slow_registry
from nvfp4_serve.errors import ExitCode
from stand_in import free_port

pytestmark = pytest.mark.skipif(
    local_registry.missing() is not None and not os.environ.get("CI"),
    reason=str(local_registry.missing()),
)


@pytest.fixture
def pushed(client: Any, tmp_path: Path) -> Iterator[str]:
    """An image that is in a registry, and not in the engine any more."""
    with registry(tmp_path / "registry") as address:
        name = f"{address}/me/stand-in"
        make_image(client, f"{name}:1", "right", labels={"made.for": address})
        said = list(client.push(name, tag="1", stream=True, decode=True))
        assert not [event for event in said if "error" in event], said
        client.remove_image(f"{name}:1", force=True)
        yield f"{name}:1"


def test_a_tag_is_fetched_and_the_digest_that_was_run_is_said(
    launcher: Launcher, pushed: str
) -> None:
    done = launcher.serve("--detach", image=pushed)
    (row,) = json.loads(launcher.run("ps", "--json").stdout)
    launcher.run("stop")
    name = pushed.rpartition(":")[0]

    assert done.returncode == ExitCode.OK, done.stderr
    assert f"the image {pushed} is not here; fetching it" in done.stderr
    assert row["image"].startswith(f"{name}@sha256:")
    assert f"the image is {row['image']}" in done.stderr


def test_a_tag_with_a_digest_behind_it_is_fetched_by_the_digest(
    launcher: Launcher, pushed: str
) -> None:
    exact = launcher.client.inspect_distribution(pushed)["Descriptor"]["digest"]

    done = launcher.serve("--detach", image=f"{pushed}@{exact}")
    launcher.run("stop")

    assert done.returncode == ExitCode.OK, done.stderr


def test_the_digest_runs_the_same_again(launcher: Launcher, pushed: str) -> None:
    launcher.serve("--detach", image=pushed)
    digest = json.loads(launcher.run("ps", "--json").stdout)[0]["image"]
    launcher.run("stop")
    launcher.client.remove_image(pushed, force=True)

    done = launcher.serve("--detach", image=digest)
    launcher.run("stop")

    assert done.returncode == ExitCode.OK, done.stderr
    assert "only that name stays what it is" not in done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{registry}/me/none:1", "The registry does not have the image"),
        ("{registry}/me/stand-in:none", "The registry does not have the image"),
        (f"127.0.0.1:{free_port()}/x:1", "The registry cannot be reached"),
        ("no such name", "That is no name of an image"),
        (
            "{registry}/me/stand-in:foreign",
            "The image is not there for this machine's CPU architecture",
        ),
    ],
)
def test_an_image_that_cannot_be_had_is_named(
    launcher: Launcher, pushed: str, name: str, says: str
) -> None:
    address = pushed.partition("/")[0]
    put_foreign(address, "me/stand-in", "foreign", "riscv64")
    ref = name.format(registry=address)

    done = launcher.serve(image=ref)

    assert done.returncode == ExitCode.ENGINE
    assert f"`{ref}`: {says}" in done.stderr
    assert "the engine says:" in done.stderr


def test_a_program_for_passwords_that_is_not_there_is_named(
    launcher: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "nowhere"}')
    launcher.variables["DOCKER_CONFIG"] = str(tmp_path)

    done = launcher.serve(image="127.0.0.1:1/me/x:1")

    assert done.returncode == ExitCode.ENGINE
    assert "keeps your passwords for registries failed" in done.stderr
    assert "docker-credential-nowhere not installed" in done.stderr
    assert "UserWarning" not in done.stderr


def test_a_registry_that_wants_a_password_says_so(
    launcher: Launcher, tmp_path: Path
) -> None:
    with registry(tmp_path / "closed", closed=True) as address:
        done = launcher.serve(image=f"{address}/me/x:1")

    assert done.returncode == ExitCode.ENGINE
    assert "does not give the image to you" in done.stderr
    assert "docker login" in done.stderr


def test_an_interrupt_while_an_image_is_fetched_leaves_nothing(
    launcher: Launcher,
) -> None:
    with slow_registry() as address:
        image = f"{address}/endless:1"
        with launcher.started(image=image) as process:
            launcher.wait_until_said("0 of 1 layers, ")
            process.send_signal(signal.SIGINT)

            assert process.wait(20) == ExitCode.INTERRUPTED
    assert "of 1.0 GiB" in launcher.said()


def test_a_disk_that_is_full_is_named(pushed: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small], check=True
    )
    try:
        with running_engine(data=small) as address:
            client = connect(address)
            launcher = Launcher(address, tmp_path, client)
            done = launcher.serve(image=pushed)
            left = launcher.left()
            client.close()
    finally:
        subprocess.run(["umount", "-l", small], check=True)

    assert done.returncode == ExitCode.ENGINE
    assert "The container engine's disk is full" in done.stderr
    assert left == ([], [])


def test_an_image_that_is_here_is_not_fetched(launcher: Launcher) -> None:
    done = launcher.serve("--detach", image=RIGHT)
    launcher.run("stop")

    assert "fetching" not in done.stderr
