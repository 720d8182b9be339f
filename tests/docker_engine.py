"""A private Docker engine for one test: a socket in a folder, no network, no rest."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker

from nvfp4_serve.host.engine_http import EngineSilentError, engine_getter

#: Seconds. It takes half a second; a busy machine takes more.
_STARTS_WITHIN = 30


def missing() -> str | None:
    """Say what keeps an engine from being started here; None if nothing does."""
    if os.geteuid() != 0:
        return "a private Docker engine needs root"
    for program, package in (
        *((name, "docker.io") for name in ("dockerd", "containerd", "runc")),
        ("ip", "iproute2"),
    ):
        if shutil.which(program) is None:
            return f"no `{program}` on the PATH; `apt-get install {package}` brings it"
    return None


@contextlib.contextmanager
def running_engine(
    hooks: Path | None = None, data: Path | None = None, **settings: Any
) -> Iterator[str]:
    """Start an engine that runs containers, and yield its address.

    It has a bridge of its own, from which nothing gets out; ports are published on
    the loopback alone.
    """
    with _bridge() as bridge:
        apart = {"bridge": bridge, "ip": "127.0.0.1", "ip-masq": False}
        with docker_engine(hooks, data, **apart, **settings) as address:
            try:
                yield address
            finally:
                _remove_containers(address)


@contextlib.contextmanager
def _bridge() -> Iterator[str]:
    """Make a bridge with a network that nobody else has."""
    name, number = _new_bridge()
    try:
        network = f"10.213.{number}.1/24"
        subprocess.run(["ip", "addr", "add", network, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


def _new_bridge() -> tuple[str, int]:
    """Return the name and number of a bridge that was not there."""
    said = ""
    for number in range(os.getpid() % 200, 255):
        name = f"nvfp4t{number}"
        made = subprocess.run(
            ["ip", "link", "add", name, "type", "bridge"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode == 0:
            return name, number
        said = made.stderr
    raise RuntimeError(f"no bridge can be made: {said}")


def _remove_containers(address: str) -> None:
    client = docker.APIClient(base_url=address)
    for row in client.containers(all=True):
        client.remove_container(row["Id"], force=True, v=True)
    client.close()


@contextlib.contextmanager
def docker_engine(
    hooks: Path | None = None, data: Path | None = None, **settings: Any
) -> Iterator[str]:
    """Start an engine with ``settings`` (of its daemon.json), and yield its address.

    It has no bridge and touches no firewall rule: it can be asked, and that is all.

    Args:
        hooks: A folder with programs that the engine looks for on its PATH.
        data: Where it keeps images; None: beside its socket.
        settings: Of the engine.
    """
    # Short, because a Unix socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dockerd-") as name:
        folder = Path(name)
        quiet = {"bridge": "none", "iptables": False, "ip6tables": False}
        config = folder / "daemon.json"
        config.write_text(json.dumps({**quiet, "ip-forward": False, **settings}))
        address = f"unix://{folder}/s"
        kept = data or folder / "data"
        before = _mounted(kept)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    *("dockerd", "--config-file", config, "--host", address),
                    *("--data-root", kept, "--exec-root", folder / "exec"),
                    *("--pidfile", folder / "pid"),
                ],
                # It copies its own environment into what it starts.
                env={
                    "PATH": f"{hooks or '/nowhere'}:{os.environ['PATH']}",
                    "HOME": name,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(process, address, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(_STARTS_WITHIN)
            # It leaves its network namespace mounted, and where the machine's mounts
            # are private, its own folder on itself.
            _unmount(folder / "exec/netns/default")
            while _mounted(kept) > before:
                _unmount(kept)


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", path], capture_output=True, check=False)


def _mounted(path: Path) -> int:
    """Return how often something is mounted at ``path``."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sum(line.split()[4] == str(path) for line in lines)


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    get = engine_getter(address)
    until = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, EngineSilentError):
            get("/version")
            return
        time.sleep(0.1)
    raise RuntimeError(f"dockerd did not start:\n{log.read_text()[-2000:]}")
