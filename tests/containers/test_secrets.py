"""Secrets leave no trace where others can read: inspect, processes, logs, our files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from container_images import make_image
from container_runs import EXAMPLE, Launcher
from hub_server import running_hub
from nvfp4_serve.errors import ExitCode

KEY = "sesame-open-4711"
TOKEN = "hf_secret_of_mine"  # noqa: S105 - made up


@pytest.fixture
def chatty(launcher: Launcher, client: Any) -> Launcher:
    """A launcher that was given a key and a token; its engine tells all it knows."""
    make_image(client, "stand-in:chatty", "chatty")
    launcher.variables |= {"VLLM_API_KEY": KEY, "HF_TOKEN": TOKEN}
    return launcher


def test_a_key_reaches_the_engine_and_nothing_else(chatty: Launcher) -> None:
    done = chatty.serve("--detach", image="stand-in:chatty")
    assert done.returncode == ExitCode.OK, done.stderr
    traces = {
        "inspect": json.dumps(chatty.inspect()),
        "processes": chatty.inside("cat /proc/[0-9]*/cmdline") + _command_lines(),
        "log": chatty.run("logs").stdout,
        "ps": chatty.run("ps", "--json").stdout,
        "our files": chatty.state(),
        "what was said": done.stdout + done.stderr,
    }
    file = chatty.inside("stat -c '%a %u' /run/nvfp4-serve/VLLM_API_KEY").strip()
    chatty.run("stop")

    assert "has a key: yes" in traces["log"]
    assert file == "400 2000"
    for where, text in traces.items():
        assert KEY not in text, where
        assert TOKEN not in text, where


def test_a_dry_run_shows_what_is_asked_and_no_secret(chatty: Launcher) -> None:
    done = chatty.serve("--dry-run", image="stand-in:chatty")

    asked = json.loads(done.stdout)
    assert asked["name"] == chatty.name
    assert asked["secrets"] == {"VLLM_API_KEY": "not shown"}
    assert asked["create"]["HostConfig"]["ReadonlyRootfs"] is True
    assert KEY not in done.stdout + done.stderr


def test_a_dry_run_has_the_key_that_would_be_made(launcher: Launcher) -> None:
    done = launcher.serve("--dry-run", "--host", "0.0.0.0")  # noqa: S104

    asked = json.loads(done.stdout)
    assert asked["secrets"] == {"VLLM_API_KEY": "not shown"}
    assert asked["create"]["Entrypoint"][0] == "/bin/sh"


def test_a_dry_run_guesses_nothing_of_an_image_that_is_not_here(
    launcher: Launcher,
) -> None:
    done = launcher.serve("--dry-run", image="example.invalid/x:1")

    assert "it would be fetched" in done.stderr
    assert "not an image of ours" not in done.stderr
    entry = json.loads(done.stdout)["create"]["Entrypoint"]
    assert entry == ["THE-COMMAND-OF-THE-IMAGE"]


def test_a_token_is_not_given_to_an_engine_that_downloads_nothing(
    chatty: Launcher,
) -> None:
    with chatty.detached(image="stand-in:chatty"):
        files = chatty.inside("ls /run/nvfp4-serve")

    assert files.split() == ["VLLM_API_KEY"]


def test_a_token_for_a_download_is_a_file_and_nothing_else(chatty: Launcher) -> None:
    with running_hub() as hub:
        hub.models["me/sonnet"] = EXAMPLE
        chatty.variables["HF_ENDPOINT"] = hub.url
        words = chatty.words("--detach", image="stand-in:chatty")
        words[1] = "me/sonnet"
        done = chatty.run(*words)
    assert done.returncode == ExitCode.OK, done.stderr
    chatty.model = "me-sonnet"
    inspected = json.dumps(chatty.inspect())
    mode = chatty.inside("stat -c '%a %u' /run/nvfp4-serve/HF_TOKEN").strip()
    token = chatty.inside("cat $HF_TOKEN_PATH").strip()
    downloads = chatty.inside("touch $HF_HUB_CACHE/x && echo yes").strip()
    log = chatty.run("logs").stdout
    chatty.run("stop")

    assert (token, mode, downloads) == (TOKEN, "400 2000", "yes")
    assert TOKEN not in inspected + log + done.stdout + done.stderr + chatty.state()
    assert TOKEN not in _command_lines()


def test_a_key_is_made_and_printed_once_where_others_may_connect(
    launcher: Launcher, client: Any
) -> None:
    make_image(client, "stand-in:chatty", "chatty")

    done = launcher.serve("--detach", "--host", "0.0.0.0", image="stand-in:chatty")  # noqa: S104
    assert done.returncode == ExitCode.OK, done.stderr
    inspected = json.dumps(launcher.inspect())
    log = launcher.run("logs").stdout
    launcher.run("stop")

    (line,) = [x for x in done.stderr.splitlines() if "VLLM_API_KEY=" in x]
    key = line.partition("=")[2]
    assert len(key) >= 32
    assert (done.stdout + done.stderr).count(key) == 1
    assert "has a key: yes" in log
    assert key not in inspected + log + launcher.state()


def test_a_key_on_the_command_line_is_refused(launcher: Launcher) -> None:
    done = launcher.serve("--", "--api-key", KEY)

    assert done.returncode == ExitCode.USAGE
    assert "put it into the environment as VLLM_API_KEY" in done.stderr
    assert KEY not in done.stderr


def test_a_file_that_the_container_would_not_see_is_refused(
    launcher: Launcher, tmp_path: Path
) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")

    done = launcher.serve("--", "--chat-template", str(template))

    assert done.returncode == ExitCode.USAGE
    assert "which the container does not see" in done.stderr


def _command_lines() -> str:
    """Return the arguments of every process of this machine but the test's own."""
    said = b""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                said += (folder / "cmdline").read_bytes()
            except OSError:
                continue
    return said.decode(errors="replace")
