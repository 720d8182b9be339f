"""``nvfp4-serve inspect``: what it prints and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from checkpoint.builders import NVFP4_CONFIG, modelopt_moe, write_checkpoint
from checkpoint.foreign_names import state_dict
from nvfp4_serve.cli.inspect import inspect
from nvfp4_serve.errors import CheckpointError, ExitCode


def run(*arguments: str) -> Result:
    return CliRunner().invoke(inspect, arguments)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_checkpoint(
        tmp_path / "good", modelopt_moe(), quantization=NVFP4_CONFIG
    )


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    tensors = modelopt_moe()
    del tensors["model.layers.0.mlp.experts.1.up_proj.weight_scale_2"]
    return write_checkpoint(tmp_path / "bad", tensors, quantization=NVFP4_CONFIG)


def test_prints_one_fact_a_line_aligned_and_with_units(good: Path) -> None:
    result = run(str(good))

    assert result.exit_code == ExitCode.OK
    assert result.stderr == ""
    assert result.stdout == (
        f"{good}\n"
        "  architecture    Qwen3MoeForCausalLM\n"
        "  producer        modelopt 0.47.0\n"
        "  layout          modelopt-per-expert\n"
        "  attention       NVFP4\n"
        "  routed experts  NVFP4\n"
        "  router          BF16\n"
        "  lm head         BF16\n"
        "  embeddings      BF16\n"
        "  weights         139.9 KiB as stored\n"
        "  in bfloat16     249.8 KiB\n"
        "  parameters      127,872\n"
        "  context         512 tokens\n"
        "  servable        yes\n"
    )


def test_prints_a_finding_with_its_fix_and_ends_with_10(bad: Path) -> None:
    result = run(str(bad))

    assert result.exit_code == ExitCode.CHECKPOINT
    assert "  servable        no\n" in result.stdout
    assert "\nerror: 1 module (`model.layers.0.mlp.experts.1.up_proj`)" in result.stdout
    assert "[missing-global-scale]\n  fix: Download the checkpoint" in result.stdout


def test_prints_what_the_engine_is_told_otherwise(tmp_path: Path) -> None:
    result = run(str(write_checkpoint(tmp_path, state_dict(modelopt_moe()))))

    assert result.exit_code == ExitCode.OK
    assert "  layout            modelopt-state-dict\n" in result.stdout
    assert "  renamed for vLLM  quantizer-state\n" in result.stdout
    assert (
        "\nThe engine is told otherwise than config.json says:\n"
        "  `quant_algo: NVFP4`: no config speaks of a quantization"
    ) in result.stdout
    assert "\nwarning: Weights are stored as ModelOpt NVFP4" in result.stdout


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("bad", 10)])
def test_prints_json_whatever_was_found(
    name: str, code: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(name)

    result = run(str(folder), "--json")

    printed = json.loads(result.stdout)
    assert result.exit_code == code
    assert printed["model"] == str(folder)
    assert printed["servable"] is (code == 0)


def test_leaves_an_unreadable_checkpoint_to_the_caller(tmp_path: Path) -> None:
    result = run(str(tmp_path / "gone"))

    assert isinstance(result.exception, CheckpointError)
    assert result.stdout == ""


def test_asks_for_a_model() -> None:
    result = run()

    assert result.exit_code == ExitCode.USAGE
    assert "MODEL" in result.stderr
