import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import HostError
from nvfp4_serve.host import facts_json, read_facts

HOSTS = Path(__file__).parents[1] / "data/hosts"
GOLDEN = Path(__file__).parents[1] / "data/hosts/printed"


def host(*words: str) -> str:
    done = CliRunner().invoke(
        commands, ["host", *words], catch_exceptions=False, standalone_mode=False
    )
    return done.stdout


@pytest.mark.parametrize(
    "path", sorted(HOSTS.glob("*.json")), ids=lambda path: path.stem
)
def test_the_words_for_people_are_those_that_were_reviewed(path: Path) -> None:
    expected = (GOLDEN / f"{path.stem}.txt").read_text()

    assert host("--facts", str(path)) == expected


def test_json_is_the_facts_and_what_follows_from_them(tmp_path: Path) -> None:
    path = HOSTS / "mixed.json"

    printed = host("--json", "--facts", str(path))

    data = json.loads(printed)
    (finding,) = data["findings"]
    assert set(finding) == {"id", "severity", "message", "fix"}
    assert (finding["id"], finding["severity"]) == ("unlike-gpus", "warning")
    again = tmp_path / "again.json"
    again.write_text(printed)
    assert read_facts(again) == read_facts(path)


def test_this_machine_is_asked_for_its_container_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    data = json.loads(host("--json"))
    text = host()

    assert data["container"]["address"] == f"unix://{tmp_path}/none.sock"
    assert "engine-not-asked" in {one["id"] for one in data["findings"]}
    assert "container engine   none: the engine did not answer" in text
    assert "Nothing listens at" in text


@pytest.mark.parametrize("command", ["plan", "serve"])
def test_a_file_of_another_version_is_refused_everywhere(
    tmp_path: Path, command: str
) -> None:
    example = Path(__file__).parents[2] / "examples/sonnet-18-nvfp4"
    facts = tmp_path / "host.json"
    data = facts_json(read_facts(HOSTS / "cpu-x86_64.json"))
    facts.write_text(json.dumps({**data, "facts": 1}))

    with pytest.raises(HostError, match="version 1; this launcher reads version 2"):
        CliRunner().invoke(
            commands,
            [command, str(example), "--facts", str(facts)],
            catch_exceptions=False,
            standalone_mode=False,
        )


def test_a_plan_asks_no_container_engine() -> None:
    program = (
        "import sys; from nvfp4_serve.host import detect_host; detect_host()\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "DOCKER_HOST": "tcp://x:1"},
        capture_output=True,
        text=True,
        check=True,
    )

    for heavy in ("http.client", "socket", "pynvml", "nvfp4_serve.host.containers"):
        assert f"'{heavy}'" not in done.stderr
