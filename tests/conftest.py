from collections.abc import Iterator
from pathlib import Path

import pytest

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
