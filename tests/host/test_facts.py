import json
import re
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.errors import ExitCode, HostError
from nvfp4_serve.host import Host, facts_json, read_facts


def write(folder: Path, data: object) -> Path:
    path = folder / "host.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(cpu_host(cxx_compiler=None), id="cpu"),
        pytest.param(gpu_host(gpu(0), gpu(1, memory=None)), id="gpus"),
    ],
)
def test_a_host_survives_the_way_to_json_and_back(tmp_path: Path, host: Host) -> None:
    assert read_facts(write(tmp_path, facts_json(host))) == host


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"facts": 2}, "version 1", id="other-version"),
        pytest.param({"cpu": 3}, "did you mean `cpus`", id="misspelt-field"),
        pytest.param({"cpus": "many"}, r"\$\.cpus", id="wrong-type"),
        pytest.param({"memory_total": 0}, "above 0", id="no-memory"),
        pytest.param({"gpus": [{"uuid": "x"}]}, "name", id="half-a-gpu"),
        pytest.param(
            {"gpus": [facts_json(gpu_host(gpu(memory=0)))["gpus"][0]]},
            "write null",
            id="gpu-of-no-bytes",
        ),
    ],
)
def test_says_what_is_wrong_with_facts(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path = write(tmp_path, {**facts_json(cpu_host()), **change})

    with pytest.raises(HostError) as caught:
        read_facts(path)

    error = caught.value
    assert error.exit_code is ExitCode.HOST
    assert str(path) in error.problem
    assert "nvfp4-serve host" in error.fix
    assert re.search(says, " ".join((error.problem, *error.evidence)))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * (1 << 20) + b"{}"],
    ids=["empty", "cut", "list", "not-text", "deep", "long"],
)
def test_a_file_that_is_no_facts_file_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "host.json"
    path.write_bytes(content)

    with pytest.raises(HostError, match=r"host\.json"):
        read_facts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"none\.json cannot be read: No such file"):
        read_facts(tmp_path / "none.json")
