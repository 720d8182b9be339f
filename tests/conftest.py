from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if Path("/dev/nvidiactl").exists():
        return
    missing = pytest.mark.skip(
        reason="no NVIDIA driver here (/dev/nvidiactl); run on a machine with a GPU"
    )
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(missing)
