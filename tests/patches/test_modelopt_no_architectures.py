"""The patch ``no-architectures`` of ModelOpt: the bug without it and with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patches.conftest import TOP
from patches.probing import BugPresentError

pytestmark = pytest.mark.producer

_PROBE = """
import sys, types
sys.path.insert(0, sys.argv[1])
import modelopt.torch.export.model_utils as m
assert m.__file__.startswith(sys.argv[1]), m.__file__
config = types.SimpleNamespace(architectures=None)
try:
    print(m.is_multimodal_model(types.SimpleNamespace(config=config)))
except TypeError as error:
    print(error)
config.architectures = ["NemotronParseForConditionalGeneration"]
print(m.is_multimodal_model(types.SimpleNamespace(config=config)))
"""


def _require_right(producer: str, site: Path) -> None:
    done = subprocess.run(
        [producer, "-I", "-c", _PROBE, str(site)],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = done.stdout.splitlines()[-2:]
    assert seen[1] == "True"  # What it was asked for is still found.
    if seen[0] != "False":
        raise BugPresentError(seen[0])


@pytest.fixture(scope="module")
def pristine_modelopt(producer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ModelOpt as it was published, and nothing else."""
    site = tmp_path_factory.mktemp("modelopt")
    (theirs,) = Path(producer).parents[1].glob("lib/python3.*/site-packages")
    for name in ("modelopt", "modelopt_recipes"):
        shutil.copytree(theirs / name, site / name)
    (info,) = theirs.glob("nvidia_modelopt-*.dist-info")
    shutil.copytree(info, site / info.name)
    return site


@pytest.mark.xfail(strict=True, raises=BugPresentError, reason="0.47.0 has it")
def test_the_published_modelopt_does_not_have_the_bug(
    producer: str, pristine_modelopt: Path
) -> None:
    _require_right(producer, pristine_modelopt)


def test_the_patched_modelopt_does_not_have_the_bug(
    producer: str, pristine_modelopt: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(pristine_modelopt, site)
    series = str(TOP / "patches" / "series.py")
    for verb in ("apply", "verify"):
        command = [sys.executable, "-I", series, verb, str(site)]
        subprocess.run(command, check=True, capture_output=True)

    _require_right(producer, site)
