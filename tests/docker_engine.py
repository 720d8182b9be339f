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

from nvfp4_serve.host.engine_http import EngineSilentError, engine_getter

#: Seconds. It takes half a second; a busy machine takes more.
_STARTS_WITHIN = 30


def missing() -> str | None:
    """Say what keeps an engine from being started here; None if nothing does."""
    if os.geteuid() != 0:
        return "a private Docker engine needs root"
    for program in ("dockerd", "containerd", "runc"):
        if shutil.which(program) is None:
            return f"no `{program}` on the PATH; `apt-get install docker.io` brings it"
    return None


@contextlib.contextmanager
def docker_engine(**settings: Any) -> Iterator[str]:
    """Start an engine with ``settings`` (of its daemon.json), and yield its address.

    It has no bridge and touches no firewall rule: it can be asked, and that is all.
    """
    # Short, because a Unix socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dockerd-") as name:
        folder = Path(name)
        quiet = {"bridge": "none", "iptables": False, "ip6tables": False}
        config = folder / "daemon.json"
        config.write_text(json.dumps({**quiet, "ip-forward": False, **settings}))
        address = f"unix://{folder}/s"
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    *("dockerd", "--config-file", config, "--host", address),
                    *("--data-root", folder / "data", "--exec-root", folder / "exec"),
                    *("--pidfile", folder / "pid"),
                ],
                # It copies its own environment into what it starts.
                env={"PATH": os.environ["PATH"], "HOME": name},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(process, address, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(_STARTS_WITHIN)


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    get = engine_getter(address)
    until = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, EngineSilentError):
            get("/version")
            return
        time.sleep(0.1)
    raise RuntimeError(f"dockerd did not start:\n{log.read_text()[-2000:]}")
