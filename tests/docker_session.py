"""One private Docker engine for a whole run of tests, and the images built in it.

What is pinned to a digest cannot be pulled where tests run. Stand-ins take its place: a
Debian made by debootstrap, and the Python files of the real vLLM on it. The CPU image
on that Debian is the real one; the others show all but the GPU's half.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import uv

import docker_engine
from build import build
from engines import pristine_python
from launcher_packages import copy_packages
from pins import DEBIAN, read_pins, vllm_version

TESTS: Final = Path(__file__).parent
#: A Debian with the pinned release's packages, from the mirror that this machine uses.
_DEBIAN: Final = "stand-in/debian:bookworm"
_VLLM: Final = "stand-in/vllm"
_SUITE: Final = "bookworm"
#: vLLM's official image, as the pins call it.
VLLM: Final = f"vllm/vllm-openai:v{vllm_version()}"
STAND_INS: Final[Mapping[str, str]] = MappingProxyType({DEBIAN: _DEBIAN, VLLM: _VLLM})
#: An engine that runs already, to be used and left alone; for whoever works on images.
_GIVEN: Final = "NVFP4_SERVE_TEST_DOCKER"


def missing() -> str | None:
    """Say what keeps images from being built here; None if nothing does."""
    if reason := docker_engine.missing():
        return reason
    if _buildx() is None:
        return "no `docker` with buildx on the PATH; `.ci/docker DEST` brings both"
    for program in ("debootstrap", "docker-registry"):
        if shutil.which(program) is None:
            return f"no `{program}` on the PATH; `apt-get install {program}` brings it"
    return None


@dataclasses.dataclass(frozen=True)
class Docker:
    """An engine, and the client that asks it.

    Attributes:
        address: ``unix:///...``.
        settings: The client's own folder, which leads it to buildx.
    """

    address: str
    settings: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the client is run with."""
        ours = {"DOCKER_HOST": self.address, "DOCKER_CONFIG": str(self.settings)}
        return {**os.environ, **ours}

    def run(self, *words: str | Path, check: bool = True) -> str:
        """Run ``docker WORDS`` and return its two outputs together.

        Raises:
            AssertionError: It failed, and ``check`` was not switched off.
        """
        done = subprocess.run(
            [str(_client()), *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout


@contextlib.contextmanager
def session(address: str | None = None) -> Iterator[Docker]:
    """Yield an engine that can build and run; nothing of it is left.

    Args:
        address: Of an engine that runs already; it is used and left alone.
    """
    with contextlib.ExitStack() as stack:
        address = address or os.environ.get(_GIVEN)
        if address is None:
            address = stack.enter_context(docker_engine.running_engine())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plugins = {"cliPluginsExtraDirs": [str(_buildx())]}
        (folder / "config.json").write_text(json.dumps(plugins))
        yield Docker(address, folder)


def build_cpu(docker: Docker) -> str:
    """Build the CPU image on a Debian of our own making; return its name."""
    build_images(docker, ["cpu"])
    return "nvfp4-serve:dev-cpu"


def build_gpu(docker: Docker, *targets: str, kernels: str = "none") -> None:
    """Build images for GPUs on the stand-in: ``nvfp4-serve:dev-TARGET``."""
    build_images(docker, targets, settings=(f"KERNELS={kernels}",))


def build_images(
    docker: Docker,
    targets: Sequence[str],
    *,
    settings: Sequence[str] = (),
    stand_ins: Mapping[str, str] = STAND_INS,
) -> None:
    """Build ``targets`` in ``docker``, as ``nvfp4-serve:dev-TARGET``.

    Args:
        docker: Where.
        targets: Of docker-bake.hcl.
        settings: Variables of docker-bake.hcl.
        stand_ins: What takes the place of which pinned image; made where it is needed.
    """
    if stand_ins:
        _make_debian(docker)
    if VLLM in stand_ins and set(targets) != {"cpu"}:
        _make_vllm(docker)
    build(
        targets, stand_ins=stand_ins, settings=settings, environment=docker.environment
    )


def _make_debian(docker: Docker) -> None:
    if docker.run("image", "ls", "--quiet", _DEBIAN).strip():
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        sources = _sources()
        subprocess.run(
            ["debootstrap", "--variant=minbase", _SUITE, root, sources[_SUITE]],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        lines = [f"deb {mirror} {suite} main\n" for suite, mirror in sources.items()]
        (root / "etc/apt/sources.list").write_text("".join(lines))
        for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*"):
            for path in root.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        archive = Path(name) / "root.tar"
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        docker.run("import", archive, _DEBIAN)


def _sources() -> dict[str, str]:
    """Return suite to mirror of the pinned release, as this machine's apt has them."""
    told = subprocess.run(
        [
            *("apt-get", "indextargets", "--format"),
            "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)",
        ],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    rows = [line.split() for line in told.splitlines()]
    return {
        row[2]: row[3]
        for row in rows
        if row[:2] == ["Packages", "main"] and row[2].partition("-")[0] == _SUITE
    }


def _make_vllm(docker: Docker) -> None:
    """Make an image with what of vLLM's official one the Dockerfiles touch."""
    if docker.run("image", "ls", "--quiet", _VLLM).strip():
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_packages(pristine_python(), folder / "packages")
        shutil.copy(uv.find_uv_bin(), folder / "uv")
        python = read_pins()["debian"]["PYTHON"]
        file = TESTS / "images" / "stand-in.Dockerfile"
        words = ("buildx", "build", "--load", "--network=host", "--tag", _VLLM)
        given = ("--build-arg", f"DEBIAN={_DEBIAN}", "--build-arg", f"PYTHON={python}")
        docker.run(*words, *given, "--file", file, folder)


@cache
def _client() -> Path | None:
    found = shutil.which("docker")
    return Path(found) if found else None


@cache
def _buildx() -> Path | None:
    """Return the folder that holds buildx, beside the client or the system's."""
    client = _client()
    if client is None:
        return None
    places = (client.resolve().parents[1] / "libexec", Path("/usr/libexec"))
    folders = [place / "docker" / "cli-plugins" for place in places]
    return next((f for f in folders if (f / "docker-buildx").exists()), None)
