import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import container_images
import docker_engine
from container_images import make_base, make_image
from container_runs import RIGHT, Launcher, connect


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = docker_engine.missing() or container_images.missing()
    for item in items:
        if "containers" in Path(item.fspath).parts:
            item.add_marker(pytest.mark.docker)
            # In CI a missing engine is a failure: what is skipped proves nothing.
            if reason and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """A private engine that has the stand-in's image."""
    with docker_engine.running_engine() as address:
        client = connect(address)
        make_base(client)
        make_image(client, RIGHT, "right")
        client.close()
        yield address


@pytest.fixture
def client(engine: str) -> Iterator[Any]:
    made = connect(engine)
    yield made
    made.close()


@pytest.fixture
def launcher(engine: str, client: Any, tmp_path: Path) -> Iterator[Launcher]:
    """The command line; a test leaves no container and no volume of its own."""
    made = Launcher(engine, tmp_path, client)
    yield made
    assert made.left() == ([], [])
