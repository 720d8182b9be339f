"""``nvfp4-serve repair``: what it prints and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoint.builders import (
    NVFP4_CONFIG,
    modelopt_linear,
    modelopt_moe,
    write_checkpoint,
)
from checkpoint.test_scales import EXPERTS, write_scales
from nvfp4_serve.errors import ExitCode
from repair.foreign import projection_first


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return write_checkpoint(
        tmp_path / "src",
        projection_first(modelopt_moe()),  # type: ignore[arg-type]
        quantization=NVFP4_CONFIG,
    )


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nvfp4_serve", "repair", *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_prints_the_folder_and_says_on_stderr_what_goes_on(
    tmp_path: Path, foreign: Path
) -> None:
    done = run(foreign, tmp_path / "dst")

    assert done.returncode == ExitCode.OK
    assert done.stdout == f"{tmp_path / 'dst'}\n"
    assert done.stderr.splitlines()[-1] == "verifying"
    assert (tmp_path / "dst" / "nvfp4-serve-repair.json").exists()


def test_says_what_a_repair_does_not_change(tmp_path: Path, foreign: Path) -> None:
    write_scales(foreign, {f"{EXPERTS}.up_proj.1.weight_scale_2": 1.25})

    done = run(foreign, tmp_path / "dst")

    assert done.returncode == ExitCode.OK
    (warning,) = (x for x in done.stderr.splitlines() if x.startswith("warning:"))
    assert f"{EXPERTS}.1.up_proj.weight_scale_2" in warning
    assert "1.25" in warning


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    tmp_path: Path, foreign: Path
) -> None:
    done = run(foreign, tmp_path / "dst", "--dry-run")

    assert done.returncode == ExitCode.OK
    assert done.stderr == ""
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == str(foreign)
    assert "repair     projection-first" in lines
    assert "renamed    36 tensors" in lines
    assert any(".gate_proj.0." in line and ".0.gate_proj." in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_json_is_one_object_with_and_without_a_dry_run(
    tmp_path: Path, foreign: Path
) -> None:
    would = json.loads(run(foreign, tmp_path / "dst", "--dry-run", "--json").stdout)
    done = json.loads(run(foreign, tmp_path / "dst", "--json").stdout)

    assert would.pop("dry_run") is True
    assert would.pop("free") > 0
    assert done.pop("date")
    assert would == done


def test_nothing_to_repair_is_a_wrong_question(tmp_path: Path) -> None:
    good = write_checkpoint(
        tmp_path / "good", modelopt_moe(), quantization=NVFP4_CONFIG
    )

    done = run(good, tmp_path / "dst")

    assert done.returncode == ExitCode.USAGE
    assert f"There is nothing to repair in `{good}`" in done.stderr
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_destroyed_scales_are_refused_in_the_words_of_inspect(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    tensors = modelopt_moe() | modelopt_linear("model.layers.0.self_attn.q_proj", 8, 96)
    tensors["model.layers.0.self_attn.q_proj.weight_scale"] = ("F8_E4M3", (8, 3))
    bad = write_checkpoint(tmp_path / "bad", tensors, quantization=NVFP4_CONFIG)
    command = [sys.executable, "-m", "nvfp4_serve", "inspect", str(bad), "--json"]
    inspected = subprocess.run(command, check=False, capture_output=True, text=True)
    findings = json.loads(inspected.stdout)["findings"]
    (finding,) = [f for f in findings if f["severity"] == "error"]

    done = run(bad, tmp_path / "dst", *words)

    assert done.returncode == ExitCode.CHECKPOINT
    assert finding["message"] in done.stderr
    assert finding["fix"] in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_says_no_to_a_target_in_the_source_already_in_a_dry_run(foreign: Path) -> None:
    done = run(foreign, foreign / "dst", "--dry-run")

    assert done.returncode == ExitCode.USAGE
    assert "never changed" in done.stderr


def test_a_dry_run_says_that_the_target_is_there(tmp_path: Path, foreign: Path) -> None:
    (tmp_path / "dst").mkdir()

    done = run(foreign, tmp_path / "dst", "--dry-run")

    assert done.returncode == ExitCode.USAGE
    assert "is there already" in done.stderr
