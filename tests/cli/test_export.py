"""``nvfp4-serve export``: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import UsageError

TESTS = Path(__file__).parents[1]
EXAMPLE = TESTS.parent / "examples/sonnet-18-nvfp4"
FACTS = ("--facts", str(TESTS / "data/hosts/rtx-pro-6000x2.json"))


def run(*words: str) -> Result:
    return CliRunner().invoke(
        commands, ["export", *words], catch_exceptions=False, standalone_mode=False
    )


def test_a_compose_file_goes_to_stdout_and_its_warnings_to_stderr() -> None:
    result = run("compose", str(EXAMPLE), *FACTS, "--image", "vllm/vllm-openai:v0.32.0")

    service = yaml.safe_load(result.stdout)["services"]["vllm"]
    assert service["command"][0] == str(EXAMPLE)
    assert "has no digest" in result.stderr


def test_the_options_of_a_plan_are_taken() -> None:
    result = run(
        "argv", str(EXAMPLE), *FACTS, "--port", "9000", "--", "--kv-cache-dtype", "fp8"
    )

    words = json.loads(result.stdout)
    assert words[words.index("--port") + 1] == "9000"
    assert words[words.index("--kv-cache-dtype") + 1] == "fp8"


def test_a_checkpoint_that_is_only_described_is_exported_too() -> None:
    facts = TESTS / "data/checkpoints/qwen3.6-35b-a3b-nvfp4.json"

    result = run(
        "argv", "nvidia/Qwen3.6-35B-A3B-NVFP4", *FACTS, "--checkpoint-facts", str(facts)
    )

    words = json.loads(result.stdout)
    assert words[words.index("--moe-backend") + 1] == "marlin"


def test_a_shell_script_is_one_flag_away() -> None:
    assert "vllm serve" in run("argv", "--shell", str(EXAMPLE), *FACTS).stdout


def test_a_file_is_written(tmp_path: Path) -> None:
    made = tmp_path / "recipe.yaml"

    result = run(
        "sparkrun", str(EXAMPLE), *FACTS, "--image", f"a/b@sha256:{'0' * 64}", "-o",
        str(made),
    )  # fmt: skip

    assert result.stdout == ""
    assert yaml.safe_load(made.read_text())["model"] == str(EXAMPLE)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compose",), "names no image"),
        (("argv", "--image", "a/b"), "runs no container"),
        (("compose", "--shell"), "for argv"),
        (("argv", "-o", "/no/such/place"), "cannot be written"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        run(*words, str(EXAMPLE), *FACTS)

    assert caught.value.fix
