"""What a real engine is asked for, for machines with GPUs that are only described.

Nothing here shows that a GPU works: it shows what would be asked of an engine that has
some, and that an engine that has none is never taken for one that does.
"""

import json
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from container_images import make_base, make_image
from container_runs import Launcher, connect
from docker_engine import running_engine
from nvfp4_serve.errors import ExitCode

_HOSTS = Path(__file__).parents[1] / "data" / "hosts"
RTX_PRO = ("--facts", str(_HOSTS / "rtx-pro-6000x2.json"))
RTX_PRO_GPU = "GPU-c0de6000-0000-4000-8000-000000000000"
ON_GPU = "stand-in:gpu"


@contextmanager
def engine_of(home: Path, **settings: Any) -> Iterator[Launcher]:
    with running_engine(**settings) as address:
        client = connect(address)
        make_base(client)
        make_image(client, ON_GPU, "gpu-kernels")
        make_image(client, "stand-in:right", "right")
        try:
            yield Launcher(address, home, client)
        finally:
            client.close()


@pytest.fixture
def toolkit(tmp_path: Path) -> dict[str, Any]:
    """An engine that would give GPUs by `--gpus`: the toolkit's runtime and hook."""
    hook = tmp_path / "hooks" / "nvidia-container-runtime-hook"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    return {
        "hooks": hook.parent,
        "runtimes": {"nvidia": {"path": str(shutil.which("runc"))}},
    }


def test_an_engine_without_a_way_to_give_gpus_is_refused(launcher: Launcher) -> None:
    done = launcher.serve(*RTX_PRO)

    assert done.returncode == ExitCode.ENGINE
    assert "The plan has 1 GPUs, and containers cannot be given them" in done.stderr
    assert "no runtime `nvidia`" in done.stderr


def test_gpus_are_asked_for_by_uuid(tmp_path: Path, toolkit: dict[str, Any]) -> None:
    with (
        engine_of(tmp_path, **toolkit) as launcher,
        launcher.detached(*RTX_PRO, image=ON_GPU) as found,
    ):
        (request,) = found["HostConfig"]["DeviceRequests"]
        inside = launcher.inside(_environment("NVIDIA_VISIBLE_DEVICES"))

    assert request["DeviceIDs"] == [RTX_PRO_GPU]
    assert request["Capabilities"] == [["gpu"]]
    assert inside.strip() == RTX_PRO_GPU
    assert f"CUDA_VISIBLE_DEVICES={RTX_PRO_GPU}" in found["Config"]["Env"]
    assert found["HostConfig"]["CapAdd"] in ([], None)


def test_an_engine_that_starts_on_the_cpu_all_the_same_is_not_right(
    tmp_path: Path, toolkit: dict[str, Any]
) -> None:
    with engine_of(tmp_path, **toolkit) as launcher:
        done = launcher.serve("--detach", *RTX_PRO)
        left = launcher.left()

    assert done.returncode == ExitCode.NOT_RIGHT
    assert "missing: Using 'FLASHINFER_CUTLASS' NvFp4 MoE backend" in done.stderr
    assert left == ([], [])


def test_a_toolkit_that_is_half_installed_leaves_no_container(
    tmp_path: Path, toolkit: dict[str, Any]
) -> None:
    half = {"runtimes": toolkit["runtimes"]}

    with engine_of(tmp_path, **half) as launcher:
        done = launcher.serve(*RTX_PRO, image=ON_GPU)
        left = launcher.left()

    assert done.returncode == ExitCode.ENGINE
    assert "no way to give GPUs to a container" in done.stderr
    assert "nvidia-ctk runtime configure" in done.stderr
    assert left == ([], [])


def test_a_machine_whose_gpu_shares_its_memory_restarts_nothing_by_itself(
    tmp_path: Path, toolkit: dict[str, Any]
) -> None:
    facts = json.loads((_HOSTS / "gb10.json").read_text())
    here = tmp_path / "gb10.json"
    here.write_text(json.dumps(facts | {"architecture": platform.machine()}))

    with (
        engine_of(tmp_path, **toolkit) as launcher,
        launcher.detached("--facts", str(here), image=ON_GPU) as found,
    ):
        policy = found["HostConfig"]["RestartPolicy"]["Name"]

    assert policy == "no"


def test_gpus_of_a_cdi_spec_are_asked_for_by_uuid(tmp_path: Path) -> None:
    specs = _cdi(tmp_path, "all", RTX_PRO_GPU)

    with _cdi_engine(tmp_path, specs) as launcher:
        done = launcher.serve("--detach", *RTX_PRO, image=ON_GPU)
        assert done.returncode == ExitCode.OK, done.stderr
        (request,) = launcher.inspect()["HostConfig"]["DeviceRequests"]
        inside = launcher.inside(_environment("GIVEN"))
        launcher.run("stop")

    assert (request["Driver"], request["DeviceIDs"]) == (
        "cdi",
        [f"nvidia.com/gpu={RTX_PRO_GPU}"],
    )
    assert inside.strip() == RTX_PRO_GPU


def test_a_cdi_spec_without_the_gpu_of_the_plan_is_refused(tmp_path: Path) -> None:
    specs = _cdi(tmp_path, "0", "all")

    with _cdi_engine(tmp_path, specs) as launcher:
        done = launcher.serve("--detach", *RTX_PRO, image=ON_GPU)
        left = launcher.left()

    assert done.returncode == ExitCode.ENGINE
    assert f"No CDI spec has the GPU `nvidia.com/gpu={RTX_PRO_GPU}`" in done.stderr
    assert left == ([], [])


def _environment(name: str) -> str:
    """Return a command that prints a variable of the container's first process."""
    return f"tr '\\0' '\\n' </proc/1/environ | sed -n 's/^{name}=//p'"


def _cdi(home: Path, *names: str) -> Path:
    folder = home / "cdi"
    folder.mkdir()
    devices = [
        {"name": name, "containerEdits": {"env": [f"GIVEN={name}"]}} for name in names
    ]
    spec = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}
    (folder / "nvidia.json").write_text(json.dumps(spec))
    return folder


@contextmanager
def _cdi_engine(home: Path, specs: Path) -> Iterator[Launcher]:
    _need_cdi()
    with engine_of(
        home, **{"features": {"cdi": True}, "cdi-spec-dirs": [str(specs)]}
    ) as launcher:
        yield launcher


def _need_cdi() -> None:
    with running_engine() as address:
        client = connect(address)
        version = client.version()["Version"]
        client.close()
    if int(version.partition(".")[0]) < 25:
        pytest.skip(
            f"Docker {version} has no CDI; put Docker 25 or newer on the PATH "
            "(`.ci/docker` unpacks one)"
        )
