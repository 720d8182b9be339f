import json
import re
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.errors import ExitCode, HostError
from nvfp4_serve.finding import Severity
from nvfp4_serve.host import Host, facts_json, read_facts
from nvfp4_serve.host.findings import host_findings
from nvfp4_serve.units import GIB


def one_gpu(**changes: Any) -> dict[str, Any]:
    return {"gpus": [{**facts_json(gpu_host(gpu()))["gpus"][0], **changes}]}


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
        pytest.param(
            {"facts": 1}, "version 1; this launcher reads version 2", id="older"
        ),
        pytest.param(
            {"facts": 3}, "version 3; this launcher reads version 2", id="newer"
        ),
        pytest.param(
            {"facts": "new"}, "version 'new'; this launcher", id="nonsense-version"
        ),
        pytest.param({"cpu": 3}, "did you mean `cpus`", id="misspelt-field"),
        pytest.param({"cpus": "many"}, r"\$\.cpus", id="wrong-type"),
        pytest.param({"memory_total": 0}, "above 0", id="no-memory"),
        pytest.param({"gpus": [{"uuid": "x"}]}, "name", id="half-a-gpu"),
        pytest.param(
            {"gpus": [facts_json(gpu_host(gpu(memory=0)))["gpus"][0]]},
            "write null",
            id="gpu-of-no-bytes",
        ),
        pytest.param(one_gpu(memory_free=97 * GIB), "`memory_free`", id="free-of-less"),
        pytest.param(one_gpu(integrated=True), "write null", id="integrated"),
        pytest.param(one_gpu(nvlinks=1, nvlinks_active=2), "of 1", id="links"),
        pytest.param(one_gpu(fabric="odd"), "fabric", id="fabric"),
        pytest.param(one_gpu(compute_capability=[0, 0]), "capability", id="capability"),
        pytest.param(one_gpu(nvlink=1), "mean `nvlinks`", id="misspelt-gpu-field"),
        pytest.param(
            {"container": {"engin": 1}}, "mean `engine`", id="misspelt-engine"
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


def test_facts_without_a_version_are_none(tmp_path: Path) -> None:
    data = facts_json(cpu_host())
    del data["facts"]

    with pytest.raises(HostError, match="is not a facts file"):
        read_facts(write(tmp_path, data))


def test_findings_that_stand_in_a_facts_file_are_not_read_back(tmp_path: Path) -> None:
    data = {**facts_json(cpu_host()), "findings": [{"id": "of-another-launcher"}]}

    assert read_facts(write(tmp_path, data)) == cpu_host()


HOSTS = sorted((Path(__file__).parents[1] / "data/hosts").glob("*.json"))


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_every_described_machine_is_read_and_says_where_it_comes_from(
    path: Path,
) -> None:
    host = read_facts(path)

    assert json.loads(json.dumps(facts_json(host))) == json.loads(path.read_text())
    assert host.note
    assert host.recorded is host.note.startswith("Recorded 20")
    assert [f for f in host_findings(host) if f.severity is Severity.ERROR] == []


def test_the_machines_of_the_mission_are_described() -> None:
    names = {path.stem for path in HOSTS}

    assert names >= {
        *("gb10", "gb10x2-node", "rtx-pro-5000", "rtx-5090", "wsl-rtx-5090"),
        *(f"rtx-pro-6000x{count}" for count in (1, 2, 4, 8)),
        *("b200x8", "b300x8", "gb200x4", "gb300x4", "h100x8", "h200x1", "h200x8"),
        *("thor", "mig-h200", "mig-b200", "mixed", "cpu-x86_64", "cpu-aarch64"),
    }
