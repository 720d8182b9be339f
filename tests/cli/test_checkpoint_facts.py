"""A checkpoint that is not here: `inspect --facts`, and `--checkpoint-facts`."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import CheckpointError, DoesNotFitError, UsageError

DATA = Path(__file__).parents[1] / "data"
EXAMPLE = Path(__file__).parents[2] / "examples/sonnet-18-nvfp4"
MISSION = "canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP"
FACTS = DATA / "checkpoints/deepseek-v4-pro-nvfp4-fp8-mtp.json"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(
        commands, [*map(str, words)], catch_exceptions=False, standalone_mode=False
    )


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def plan(host: str, *words: str) -> Result:
    return run(
        "plan", MISSION, "--checkpoint-facts", FACTS,
        "--facts", DATA / "hosts" / f"{host}.json", *words,
    )  # fmt: skip


@pytest.mark.usefixtures("_no_network")
def test_a_checkpoint_is_planned_from_its_facts_without_a_network() -> None:
    made = json.loads(plan("b300x8", "--json").stdout)

    argv = made["argv"]
    assert argv[0] == MISSION
    assert made["recipe_id"] == "deepseek-v4-pro-nvfp4-fp8-mtp/b300x8"
    assert "--enable-expert-parallel" in argv
    assert {
        name: argv[argv.index(name) + 1]
        for name in (
            "--tensor-parallel-size",
            "--moe-backend",
            "--kv-cache-dtype",
            "--block-size",
        )
    } == {
        "--tensor-parallel-size": "8",
        "--moe-backend": "flashinfer_trtllm",
        "--kv-cache-dtype": "fp8",
        "--block-size": "256",
    }
    draft = json.loads(argv[argv.index("--speculative-config") + 1])
    assert draft == {"method": "mtp", "num_speculative_tokens": 1}
    overrides = json.loads(argv[argv.index("--hf-overrides") + 1])
    assert overrides["quantization_config"]["ignore"] == ["mtp.*"]


@pytest.mark.usefixtures("_no_network")
def test_what_does_not_fit_is_refused_from_its_facts_too() -> None:
    with pytest.raises(DoesNotFitError, match="does not fit"):
        plan("rtx-pro-6000x8")


@pytest.mark.usefixtures("_no_network")
def test_recipes_are_judged_from_its_facts_without_a_network() -> None:
    judged = run(
        "recipes", MISSION, "--checkpoint-facts", FACTS, "--json",
        "--facts", DATA / "hosts/b300x8.json",
    )  # fmt: skip

    chosen = json.loads(judged.stdout)["chosen"]
    assert chosen == "deepseek-v4-pro-nvfp4-fp8-mtp/b300x8"


def test_what_was_constructed_says_so() -> None:
    assert "Nobody read the files" in plan("b300x8").stderr


def test_the_facts_of_another_checkpoint_are_refused() -> None:
    with pytest.raises(CheckpointError, match="describes `canada-quant"):
        run("plan", "nvidia/Qwen3-30B-A3B-NVFP4", "--checkpoint-facts", FACTS)


def test_weights_cannot_be_served_from_a_description() -> None:
    with pytest.raises(UsageError, match="describes a checkpoint") as caught:
        run("serve", MISSION, "--checkpoint-facts", FACTS)

    assert "plan" in caught.value.fix


def test_what_inspect_prints_is_what_inspect_takes(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text(run("inspect", EXAMPLE, "--facts").stdout)

    from_facts = run("inspect", EXAMPLE, "--checkpoint-facts", file, "--json")

    assert from_facts.stdout == run("inspect", EXAMPLE, "--json").stdout
    assert json.loads(from_facts.stdout)["servable"]


def test_facts_of_facts_are_the_same_facts() -> None:
    again = run("inspect", MISSION, "--checkpoint-facts", FACTS, "--facts")

    assert again.stdout == FACTS.read_text()
