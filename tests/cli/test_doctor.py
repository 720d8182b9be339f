import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nvfp4_serve.errors import ExitCode
from stand_in import free_port

_ROOT = Path(__file__).parents[2]
EXAMPLE = _ROOT / "examples" / "sonnet-18-nvfp4"
_HOSTS = _ROOT / "tests" / "data" / "hosts"


def doctor(
    home: Path, *words: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run `doctor` on this machine, without a GPU and without a container engine."""
    apart = {
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "HF_HUB_CACHE": str(home / "hub"),
        "DOCKER_HOST": f"unix://{home}/none.sock",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "doctor", *words],
        env={**os.environ, **apart, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def ids(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    return {f["id"]: f["severity"] for f in json.loads(done.stdout)["findings"]}


def test_a_machine_without_gpu_and_without_docker_is_told_what_it_can_do(
    tmp_path: Path,
) -> None:
    done = doctor(tmp_path, "--port", str(free_port()))

    assert done.returncode == ExitCode.OK, done.stderr
    assert "[engine-not-asked]" in done.stdout
    assert "[engine-not-installed]" in done.stdout
    assert "not checked  GPUs inside a container" in done.stdout
    assert "nothing that was checked forbids serving" in done.stdout


def test_json_says_what_was_checked_and_what_was_not(tmp_path: Path) -> None:
    report = json.loads(doctor(tmp_path, "--json").stdout)

    assert set(report) == {"may_serve", "findings", "checked", "not_checked"}
    assert "disk" in report["checked"]
    assert all(row["why"] for row in report["not_checked"])
    assert all(
        set(f) == {"id", "severity", "message", "fix"} for f in report["findings"]
    )


def test_a_port_that_is_taken_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = doctor(tmp_path, "--json", "--port", str(port))

    assert ids(done)["port-taken"] == "warning"
    assert done.returncode == ExitCode.OK


@pytest.mark.parametrize("name", ["rtx-pro-6000x2", "b300x8", "gb10"])
def test_a_described_machine_is_judged_by_its_facts(tmp_path: Path, name: str) -> None:
    done = doctor(
        tmp_path, "--json", str(EXAMPLE), "--facts", str(_HOSTS / f"{name}.json")
    )

    assert done.returncode == ExitCode.OK
    assert "error" not in ids(done).values()
    skipped = {row["what"] for row in json.loads(done.stdout)["not_checked"]}
    assert "disk" in skipped


def test_an_old_driver_forbids_serving(tmp_path: Path) -> None:
    facts = json.loads((_HOSTS / "rtx-pro-6000x1.json").read_text())
    old = tmp_path / "old.json"
    old.write_text(json.dumps(facts | {"driver": "570.86", "cuda_driver": [12, 8]}))

    done = doctor(tmp_path, "--facts", str(old))

    assert done.returncode == ExitCode.HOST
    assert "error: NVIDIA driver 570.86 (CUDA 12.8) is older than R580" in done.stdout
    assert "this machine cannot serve as it is: 1 to mend first" in done.stdout


def test_a_checkpoint_that_cannot_be_served_is_an_error(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--json", str(tmp_path / "none"))

    assert done.returncode == ExitCode.HOST
    assert ids(done)["checkpoint"] == "error"


def test_a_facts_file_that_is_none_is_an_error_of_its_own(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--facts", str(tmp_path / "none.json"))

    assert done.returncode == ExitCode.HOST
    assert "cannot be read" in done.stderr
