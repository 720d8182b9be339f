"""The launcher's command line against a private container engine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from stand_in import free_port
from waiting import wait_for

EXAMPLE = Path(__file__).parents[1] / "examples" / "sonnet-18-nvfp4"
RIGHT = "stand-in:right"


@dataclass
class Launcher:
    """Runs `nvfp4-serve` as a user would, with folders of its own."""

    address: str
    home: Path
    client: Any
    port: int = field(default_factory=free_port)
    model: str = "sonnet-18-nvfp4"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k[:3] not in {"HF_", "VLL"}}
        return {
            **kept,
            "DOCKER_HOST": self.address,
            "XDG_STATE_HOME": str(self.home / "state"),
            "HF_HOME": str(self.home / "huggingface"),
            "CUDA_VISIBLE_DEVICES": "",
            **self.variables,
        }

    @property
    def name(self) -> str:
        return f"nvfp4-serve-{self.model}-{self.port}"

    def words(self, *words: str, image: str = RIGHT) -> list[str]:
        given = ("--runtime", "docker", "--image", image, "--port", str(self.port))
        return ["serve", str(EXAMPLE), *given, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nvfp4_serve", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def serve(
        self, *words: str, image: str = RIGHT
    ) -> subprocess.CompletedProcess[str]:
        return self.run(*self.words(*words, image=image))

    @contextmanager
    def detached(self, *words: str, image: str = RIGHT) -> Iterator[dict[str, Any]]:
        """Serve with `--detach`; give what the engine says of the container."""
        done = self.serve("--detach", *words, image=image)
        assert done.returncode == 0, done.stderr
        try:
            yield self.inspect()
        finally:
            self.run("stop", "--port", str(self.port))

    @contextmanager
    def started(
        self, *words: str, image: str = RIGHT
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Serve in the foreground; what it says on stderr is in `said`."""
        with (
            (self.home / "err").open("wb") as err,
            subprocess.Popen(
                [sys.executable, "-m", "nvfp4_serve", *self.words(*words, image=image)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
            ) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait(60)

    def said(self) -> str:
        return (self.home / "err").read_text()

    def wait_until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said())

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.inspect_container(self.name)
        return found

    def inside(self, command: str) -> str:
        """Return what a command that runs in the container says."""
        made = self.client.exec_create(self.name, ["/bin/sh", "-c", command])
        said: bytes = self.client.exec_start(made["Id"])
        return said.decode()

    def left(self) -> tuple[list[str], list[str]]:
        """Return the containers, and the volumes without a name of ours."""
        containers = [row["Names"][0] for row in self.client.containers(all=True)]
        volumes = (self.client.volumes()["Volumes"]) or []
        names = [volume["Name"] for volume in volumes]
        return containers, [n for n in names if not n.startswith("nvfp4-serve-")]

    def state(self) -> str:
        """Return everything that the launcher keeps on the disk."""
        files = sorted(p for p in (self.home / "state").rglob("*") if p.is_file())
        return "".join(path.read_text() for path in files)


def connect(address: str) -> Any:
    return docker.APIClient(base_url=address, version="auto")


def shown(value: object) -> str:
    return json.dumps(value)
