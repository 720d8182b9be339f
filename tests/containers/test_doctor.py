"""What `doctor` says of a real container engine, and from inside a container."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from container_images import make_base, make_image
from container_runs import RIGHT, Launcher, connect
from docker_engine import running_engine
from hosts import gpu, gpu_host
from nvfp4_serve.cli.image_checks import image_checks
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.finding import Finding
from nvfp4_serve.host import Host


def findings(host: Host, image: str) -> dict[str, tuple[Finding, ...]]:
    """Return what each check of ``image`` found; one that was not made fails."""
    found = {}
    for what, said in image_checks(host, image, described=False):
        assert not isinstance(said, str), said
        found[what] = said
    return found


def test_an_engine_and_an_image_that_are_there_are_checked(launcher: Launcher) -> None:
    done = launcher.run("doctor", "--json", "--image", RIGHT)

    report = json.loads(done.stdout)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "image" in report["checked"]
    assert {"what": "GPUs inside a container", "why": "this machine has none"} in (
        report["not_checked"]
    )


def test_an_image_that_is_not_there_is_not_fetched(launcher: Launcher) -> None:
    done = launcher.run("doctor", "--json", "--image", "127.0.0.1:1/none:1")

    skipped = {
        row["what"]: row["why"] for row in json.loads(done.stdout)["not_checked"]
    }
    assert done.returncode == ExitCode.OK
    assert "is not here; `docker pull` fetches it" in skipped["image"]


@pytest.fixture(scope="module")
def toolkit_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine that would give GPUs by `--gpus`: the toolkit's runtime and hook."""
    hook = tmp_path_factory.mktemp("hooks") / "nvidia-container-runtime-hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    runtimes = {"nvidia": {"path": str(shutil.which("runc"))}}
    with running_engine(hooks=hook.parent, runtimes=runtimes) as address:
        client = connect(address)
        make_base(client)
        client.close()
        yield address


@pytest.mark.parametrize(
    ("sees", "missing"), [("GPU-00000000", 0), ("GPU-ffffffff", 1), ("", 1)]
)
def test_the_gpus_that_a_container_sees_are_compared(
    toolkit_engine: str, monkeypatch: pytest.MonkeyPatch, sees: str, missing: int
) -> None:
    with_list = connect(toolkit_engine)
    line = f'#!/bin/sh\\necho "GPU 0: constructed (UUID: {sees})"\\n'
    make_image(
        with_list,
        "stand-in:smi",
        "right",
        lines=[f"RUN printf '{line}' >/bin/nvidia-smi && chmod 755 /bin/nvidia-smi"],
    )
    with_list.close()
    monkeypatch.setenv("DOCKER_HOST", toolkit_engine)
    host = gpu_host(gpu(0))

    found = findings(host, "stand-in:smi")

    inside = found["GPUs inside a container"]
    assert [f.id for f in inside] == ["gpus-not-in-container"] * missing


def test_an_engine_that_cannot_give_gpus_is_an_error(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)

    found = findings(gpu_host(gpu(0)), RIGHT)

    (finding,) = found["GPUs inside a container"]
    assert finding.id == "gpus-not-in-container"
    assert "no runtime `nvidia`" in finding.message


def test_a_driver_older_than_the_image_needs_is_an_error(
    engine: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(
        client, "stand-in:cuda", "right", labels={"com.nvidia.cuda.toolkit": "13.2"}
    )
    monkeypatch.setenv("DOCKER_HOST", engine)
    host = gpu_host(gpu(0), cuda_driver=(13, 0))

    found = findings(host, "stand-in:cuda")

    (finding,) = found["image"]
    assert finding.id == "driver-too-old-for-image"
    assert "needs CUDA 13.2; driver 580.95.05 speaks 13.0" in finding.message
