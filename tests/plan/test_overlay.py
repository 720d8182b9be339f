import json
import subprocess
from typing import Any

import pytest

from hosts import cpu_host
from layouts import knowledge, layout
from nvfp4_serve.checkpoint.types import Overlay
from nvfp4_serve.errors import CheckpointError, UsageError
from nvfp4_serve.plan import Plan, Request, make_plan

CONFIG = {
    "quant_method": "modelopt",
    "quant_algo": "NVFP4",
    "ignore": ["lm_head", "model.layers.0.mlp.gate"],
}
OVERLAY = Overlay(CONFIG, ("`ignore` names the gate.", "`quant_algo` is NVFP4."))
SPELLINGS = {
    name: name for name in ("--hf-overrides", "--quantization", "--max-num-seqs")
} | {"-q": "--quantization"}


def plan(*extra: str, **changes: Any) -> Plan:
    made = {"overlay": OVERLAY} | changes
    return make_plan(
        layout(**made), cpu_host(), Request(extra=extra), knowledge(SPELLINGS)
    )


def overrides(made: Plan) -> Any:
    assert made.argv.count("--hf-overrides") == 1
    return json.loads(made.argv[made.argv.index("--hf-overrides") + 1])


def test_the_whole_config_that_the_tensors_ask_for_is_passed() -> None:
    made = plan()

    assert overrides(made) == {"quantization_config": CONFIG}
    assert plan().argv == made.argv


def test_a_checkpoint_whose_config_is_right_is_given_none() -> None:
    assert "--hf-overrides" not in plan(overlay=None).argv


def test_the_reason_is_every_change_and_the_flag_is_cut_short_in_it() -> None:
    long = Overlay({**CONFIG, "ignore": [f"layers.{i}" for i in range(99)]}, ("Why.",))

    (reason,) = (r for r in plan().because if r.flag.startswith("--hf-overrides"))
    (short,) = (
        r for r in plan(overlay=long).because if r.flag.startswith("--hf-overrides")
    )

    assert reason.why == "`ignore` names the gate. `quant_algo` is NVFP4."
    assert "vLLM 0.32.0" in reason.source
    assert len(short.flag) == 160
    assert short.flag.endswith("…")


@pytest.mark.parametrize(
    "words",
    [
        ("--hf-overrides", '{"rope_parameters": {"factor": 2.0}}'),
        ('--hf_overrides={"rope_parameters": {"factor": 2.0}}',),
    ],
    ids=["two-words", "one-word"],
)
def test_the_users_own_keys_stay(words: tuple[str, ...]) -> None:
    made = plan("--max-num-seqs", "4", *words)

    assert overrides(made) == {
        "rope_parameters": {"factor": 2.0},
        "quantization_config": CONFIG,
    }
    assert made.argv[-2:] == ("--max-num-seqs", "4")
    assert any("Your own keys" in reason.why for reason in made.because)


def test_keys_behind_dots_are_joined_by_one_of_ours() -> None:
    # vLLM gathers them into one object, behind which `--hf-overrides {...}` is lost.
    made = plan("--hf-overrides.max_position_embeddings", "512")

    assert "--hf-overrides" not in made.argv
    index = made.argv.index("--hf-overrides.quantization_config")
    assert json.loads(made.argv[index + 1]) == CONFIG
    assert made.argv[-2:] == ("--hf-overrides.max_position_embeddings", "512")


@pytest.mark.parametrize(
    "words",
    [
        ("--hf-overrides", '{"quantization_config": {"quant_algo": "FP8"}}'),
        ("--hf-overrides.quantization_config.ignore+", "lm_head"),
        ("--hf-overrides", '{"quantization_config_file": "x.json"}'),
    ],
    ids=["object", "dots", "file"],
)
def test_a_config_of_the_users_is_refused_with_what_it_would_undo(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError, match="touches `quantization_config`") as caught:
        plan(*words)

    assert caught.value.evidence == OVERLAY.changes
    assert "nvfp4-serve repair" in caught.value.fix


def test_the_users_config_is_his_own_where_no_overlay_is_needed() -> None:
    words = ("--hf-overrides", '{"quantization_config": {"quant_algo": "FP8"}}')

    assert plan(*words, overlay=None).argv[-2:] == words


def test_an_object_beside_keys_behind_dots_is_refused() -> None:
    with pytest.raises(UsageError, match="the keys alone"):
        plan("--hf-overrides", '{"a": 1}', "--hf-overrides.b", "2")


@pytest.mark.parametrize("text", ["max_len=3", "[1]", "'{}'"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be a JSON object"):
        plan("--hf-overrides", text)


@pytest.mark.parametrize("method", ["modelopt", "modelopt_fp4"])
def test_the_methods_own_name_may_be_said(method: str) -> None:
    assert plan("-q", method).argv[-2:] == ("-q", method)


def test_another_method_is_refused_because_vllm_would_drop_it() -> None:
    with pytest.raises(UsageError, match="'fp8'") as caught:
        plan("--quantization", "fp8")

    assert caught.value.evidence == OVERLAY.changes


def test_a_config_that_is_too_long_for_a_command_line_is_refused() -> None:
    names = [f"model.layers.{i}.mlp.experts.0.up_proj" for i in range(4000)]

    with pytest.raises(CheckpointError, match="131,071") as caught:
        plan(overlay=Overlay({**CONFIG, "ignore": names}, ("Why.",)))

    assert "repair" in caught.value.fix


def test_the_longest_word_of_a_command_line_is_as_long_as_we_say() -> None:
    subprocess.run(["/bin/true", "x" * 131_071], check=True)
    with pytest.raises(OSError, match="too long"):
        subprocess.run(["/bin/true", "x" * 131_072], check=True)
