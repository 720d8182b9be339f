import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker_session
from docker_session import Docker
from twins.matrix import Trees, trees


@pytest.fixture(scope="session")
def both_trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trees]:
    """Published vLLM and ours; each starts when it is first asked."""
    with trees(tmp_path_factory.mktemp("trees")) as both:
        yield both


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if Path("/dev/nvidiactl").exists():
        return
    missing = pytest.mark.skip(
        reason="no NVIDIA driver here (/dev/nvidiactl); run on a machine with a GPU"
    )
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(missing)


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A private Docker engine that builds and runs; skip where there can be none.

    None at all in CI is a failure: a suite that quietly skips its proofs proves
    nothing.
    """
    if reason := docker_session.missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with docker_session.session() as made:
        yield made


@pytest.fixture(scope="session")
def cpu_image(docker: Docker) -> str:
    """The name of the CPU image in ``docker``, built by the checkout's own files."""
    return docker_session.build_cpu(docker)


@pytest.fixture(scope="session")
def gpu_images(docker: Docker) -> None:
    """``nvfp4-serve:dev-TARGET`` in ``docker`` for every GPU, on a stand-in base."""
    docker_session.build_gpu(docker, "base", "gb10", "b300", "gb300", "rtx-pro")
