"""The same expectations as on recorded answers, on a real Docker engine.

    PATH=/where/dockerd/is:$PATH pytest -m docker

The engine is started by the test: private, without a network. No GPU is needed: what is
read is what the engine would be asked for.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from docker_engine import docker_engine, missing
from hosts import gpu
from nvfp4_serve.host.containers import read_container
from nvfp4_serve.host.engine_http import engine_getter
from nvfp4_serve.host.types import Attach, Container

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


def describe(root: Path, **settings: Any) -> Container:
    with docker_engine(**settings) as address:
        return read_container((gpu(),), {"DOCKER_HOST": address}, root)


def test_a_real_engine_is_described(tmp_path: Path) -> None:
    with docker_engine() as address:
        version = engine_getter(address)("/version")
        found = read_container((gpu(),), {"DOCKER_HOST": address}, tmp_path)

    assert found.engine == "docker"
    assert found.version == version["Version"]
    assert (found.remote, found.rootless) == (False, False)
    assert "runc" in found.runtimes
    assert found.attach is Attach.NONE
    assert found.problem is None


def test_a_runtime_of_the_toolkits_name_is_seen(tmp_path: Path) -> None:
    found = describe(tmp_path, runtimes={"nvidia": {"path": str(shutil.which("runc"))}})

    assert "nvidia" in found.runtimes
    assert found.attach is Attach.DEVICE_REQUEST


def test_the_devices_of_a_cdi_spec_are_seen(tmp_path: Path) -> None:
    (tmp_path / "nvidia.json").write_text(
        json.dumps(
            {
                "cdiVersion": "0.5.0",
                "kind": "nvidia.com/gpu",
                "devices": [{"name": "all", "containerEdits": {"env": ["A=1"]}}],
            }
        )
    )
    with docker_engine() as address:
        if "CDISpecDirs" not in engine_getter(address)("/info"):
            pytest.skip("this Docker is older than 25 and has no CDI; install 28")

    found = describe(
        tmp_path, features={"cdi": True}, **{"cdi-spec-dirs": [str(tmp_path)]}
    )

    assert found.cdi_spec_dirs == (str(tmp_path),)
    assert found.cdi_devices == ("nvidia.com/gpu=all",)
    assert found.attach is Attach.CDI
