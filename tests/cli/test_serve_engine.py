"""`serve` with the real engine: few starts, many checks; each takes half a minute."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines import managed_engine
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.ready.client import ask
from nvfp4_serve.ready.types import Watched
from nvfp4_serve.runtime.instances import list_instances
from nvfp4_serve.runtime.proc import read_members
from nvfp4_serve.runtime.types import Instance
from stand_in import free_port
from waiting import wait_for

pytestmark = pytest.mark.engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"
#: Seconds that a start may take on a slow machine that does other things as well.
_START = 300.0


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@dataclass
class Serving:
    """One `nvfp4-serve serve` of the example, and the engine under it."""

    launcher: subprocess.Popen[bytes]
    err: Path
    instance: Instance

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        question = body | {"model": EXAMPLE.name}
        engine = Watched(
            self.instance.url, self.instance.log, EXAMPLE.name, None, lambda: None
        )
        status, content = ask(engine, path, question, seconds=60)
        assert status == 200, content
        return json.loads(content)

    def said(self) -> str:
        return self.err.read_text()

    def wait_until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said() or self.launcher.poll(), _START)
        assert text in self.said()

    def kill(self, name: str) -> None:
        """Kill the process of the engine that has this name, as the kernel does it."""
        members = read_members(self.instance.pid)
        pids = {p.name: p.pid for p in members} | {"first": self.instance.pid}
        os.kill(pids[name], signal.SIGKILL)

    def wait_for_nothing_left(self) -> None:
        wait_for(lambda: not read_members(self.instance.pid), 60)


@contextmanager
def serving(tmp_path: Path, *flags: str) -> Iterator[Serving]:
    err = tmp_path / "stderr"
    command = [sys.executable, "-m", "nvfp4_serve", "serve", str(EXAMPLE), "--yes"]
    with (
        err.open("wb") as stderr,
        (tmp_path / "stdout").open("wb") as stdout,
        subprocess.Popen(
            [*command, "--port", str(free_port()), *flags],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        ) as launcher,
    ):
        try:
            wait_for(lambda: list_instances() or launcher.poll(), _START)
            assert list_instances(), err.read_text()
            yield Serving(launcher, err, list_instances()[0])
        finally:
            launcher.terminate()


def test_a_right_engine_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.wait_until_said("right after")
        assert (tmp_path / "stdout").read_text().startswith(f"{served.instance.url}\n")

        served.launcher.send_signal(signal.SIGINT)

        assert served.launcher.wait(60) == ExitCode.INTERRUPTED
        assert read_members(served.instance.pid) == ()
        assert list_instances() == ()


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        pytest.param("128", "characters: the context holds no more", id="a-part"),
        pytest.param("8", "the context is too short for it", id="nothing"),
    ],
)
def test_a_context_shorter_than_the_canary_does_not_make_a_right_engine_wrong(
    tmp_path: Path, limit: str, says: str
) -> None:
    with serving(tmp_path, "--max-model-len", limit) as served:
        served.wait_until_said("right after")

        assert says in served.said()


@pytest.mark.parametrize("flags", [(), ("--max-model-len", "600")], ids=["all", "600"])
def test_the_engine_has_room_for_the_tokens_that_were_planned(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    plan = [sys.executable, "-m", "nvfp4_serve", "plan", str(EXAMPLE), "--json", *flags]
    planned = json.loads(subprocess.check_output(plan))["kv_cache_tokens"]

    with serving(tmp_path, *flags) as served:
        served.wait_until_said("right after")
        log = served.instance.log.read_text()

    found = re.search(r"KV cache size: ([\d,]+) tokens", log)
    assert found is not None
    assert int(found[1].replace(",", "")) == planned


@pytest.mark.parametrize("name", ["VLLM::EngineCor", "first"])
def test_an_engine_of_which_a_process_is_killed_while_it_serves_is_reported_and_gone(
    tmp_path: Path, name: str
) -> None:
    with serving(tmp_path) as served:
        served.wait_until_said("right after")

        served.kill(name)

        assert served.launcher.wait(30) == ExitCode.ENGINE
        assert read_members(served.instance.pid) == ()
        assert served.said().count("error: ") == 1
    assert "log: `" in served.said()


def test_an_engine_whose_core_is_killed_while_it_loads_is_reported_and_gone(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as served:
        served.wait_until_said("the architecture is")
        wait_for(
            lambda: any(
                p.name == "VLLM::EngineCor" for p in read_members(served.instance.pid)
            ),
            _START,
        )

        served.kill("VLLM::EngineCor")

        assert served.launcher.wait(60) == ExitCode.ENGINE
        assert read_members(served.instance.pid) == ()
    assert "log: `" in served.said()


def test_two_signals_while_it_loads_end_everything_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.wait_until_said("the architecture is")

        served.launcher.send_signal(signal.SIGINT)
        served.wait_until_said("Ctrl-C again")
        served.launcher.send_signal(signal.SIGINT)

        assert served.launcher.wait(5) == ExitCode.INTERRUPTED
        assert read_members(served.instance.pid) == ()


def test_a_launcher_that_is_killed_while_it_loads_takes_the_engine_with_it(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as served:
        served.wait_until_said("the architecture is")

        served.launcher.kill()

        served.wait_for_nothing_left()


def test_a_launcher_that_is_killed_while_it_serves_takes_the_engine_with_it(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as served:
        served.wait_until_said("right after")

        served.launcher.kill()

        served.wait_for_nothing_left()


def test_a_detached_engine_answers_as_the_stand_in_does_until_it_is_stopped(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--detach") as served:
        assert served.launcher.wait(_START) == ExitCode.OK
        counted = served.ask("/tokenize", {"prompt": "Shall I"})
        said = served.ask(
            "/v1/completions",
            {"prompt": "Shall I", "max_tokens": 8, "temperature": 0, "logprobs": 1},
        )
        (listed,) = list_instances()
        done = subprocess.run(
            [sys.executable, "-m", "nvfp4_serve", "stop", served.instance.name],
            check=False,
        )

        assert isinstance(counted["count"], int)
        assert isinstance(counted["max_model_len"], int)
        assert said["choices"][0]["text"].startswith(" compare")
        assert len(said["choices"][0]["logprobs"]["token_logprobs"]) == 8
        assert listed.id == served.instance.id
        assert listed.engine == managed_engine().id
        assert done.returncode == ExitCode.OK
        assert read_members(served.instance.pid) == ()


def test_an_engine_that_refuses_its_flags_says_why_and_is_gone(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--", "--tokenizer", "/no/such") as served:
        assert served.launcher.wait(_START) == ExitCode.ENGINE
        assert "/no/such" in served.said()
        assert read_members(served.instance.pid) == ()
