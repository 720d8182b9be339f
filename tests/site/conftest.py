"""The page itself, made once."""

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the page, made from the recipes as they are."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, TOP / "docs/make_site.py", folder],
        check=True,
        capture_output=True,
    )
    return folder
