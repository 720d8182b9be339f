import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checkpoint.test_real_exports import restored
from hosts import cpu_host, gpu, gpu_host
from layouts import layout
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Draft, Experts
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.recipe.knowledge import load_knowledge

KNOWN = load_knowledge()
EXPERTS = Experts(
    count=128,
    per_token=8,
    intermediate=2048,
    activation="silu",
    gated=True,
    swiglu_limit=None,
)
#: DeepSeek-V4 with NVFP4 experts and a draft of MXFP4 experts, in few bytes.
V4: dict[str, Any] = {
    "layout": "deepseek-v4",
    "schemes": {
        "attention": "FP8_BLOCK",
        "routed_experts": "NVFP4",
        "mtp": "FP8_BLOCK+MXFP4",
    },
    "experts": replace(EXPERTS, swiglu_limit=10.0),
    "draft": Draft(layers=1, scheme="MXFP4", method="mtp"),
    "attention_kind": "deepseek-v4",
}
W4A16 = {"schemes": {"attention": "W4A16_NVFP4", "routed_experts": "W4A16_NVFP4"}}
B300 = gpu_host(gpu(capability=(10, 3)))
RTX = gpu_host(gpu(capability=(12, 0)))
SPARK = gpu_host(gpu(capability=(12, 1), memory=None))
MTP = ("--speculative-config", '{"method": "mtp", "num_speculative_tokens": 1}')


def machine(major: int, minor: int) -> Host:
    return gpu_host(gpu(capability=(major, minor)))


def plan(host: Host, *extra: str, **changes: Any) -> Plan:
    changes = {"experts": EXPERTS, **changes}
    return make_plan(layout(**changes), host, Request(extra=extra), KNOWN)


def value(made: Plan, flag: str) -> str | None:
    return made.argv[made.argv.index(flag) + 1] if flag in made.argv else None


def backend(made: Plan) -> str | None:
    return value(made, "--moe-backend")


@pytest.mark.parametrize("capability", [(10, 0), (10, 3)])
def test_one_backend_runs_the_experts_of_the_model_and_of_its_draft(
    capability: tuple[int, int],
) -> None:
    made = plan(machine(*capability), **V4)

    assert backend(made) == "flashinfer_trtllm"
    (reason,) = (r for r in made.because if r.flag.startswith("--moe-backend"))
    assert "MXFP4" in reason.why
    assert "oracle" in reason.source


@pytest.mark.parametrize("host", [RTX, machine(9, 0), cpu_host()])
def test_other_machines_are_left_to_vllm(host: Host) -> None:
    assert backend(plan(host, **V4)) is None


def test_other_layouts_are_left_to_vllm() -> None:
    assert backend(plan(B300)) is None
    assert backend(plan(B300, **W4A16)) is None


def test_experts_without_a_gate_do_not_get_the_kernel_that_was_met_with_garbage() -> (
    None
):
    nemotron = replace(EXPERTS, activation="relu2_no_mul", gated=False)

    made = plan(B300, experts=nemotron)

    assert backend(made) == "flashinfer_cutlass"
    assert r"Using 'FLASHINFER_CUTLASS' NvFp4 MoE backend" in made.expect.log_must


def test_a_deepseek_v4_gets_the_cache_that_its_attention_packs() -> None:
    made = plan(B300, **V4)

    assert value(made, "--kv-cache-dtype") == "fp8"
    assert value(made, "--block-size") == "256"
    assert "--no-enable-flashinfer-autotune" in made.argv


def test_narrow_layers_on_12_0_get_a_kernel_that_can_cut_them() -> None:
    widths = {"model.layers.0.self_attn.o_proj": 2048 + 16}

    uneven = plan(RTX, input_widths=widths)
    even = plan(RTX, input_widths={"model.layers.0.self_attn.o_proj": 2048})

    assert value(uneven, "--linear-backend") == "marlin"
    assert "Using MarlinNvFp4LinearKernel for NVFP4 GEMM" in uneven.expect.log_must
    assert value(even, "--linear-backend") is None


def test_experts_of_two_schemes_whose_rows_disagree_get_what_runs_both() -> None:
    both = {"attention": "BF16", "routed_experts": "NVFP4+W4A16_NVFP4"}
    nemotron = replace(EXPERTS, activation="relu2_no_mul", gated=False)

    made = plan(B300, schemes=both, experts=nemotron)

    assert backend(made) == "marlin"


@pytest.mark.parametrize(
    ("host", "scheme", "moe", "linear"),
    [
        (machine(8, 9), "NVFP4", "MARLIN", "MarlinNvFp4LinearKernel"),
        (machine(9, 0), "NVFP4", "HUMMING", "HummingNvFp4LinearKernel"),
        (B300, "NVFP4", "FLASHINFER_TRTLLM", "FlashInferCuteDslNvFp4LinearKernel"),
        (B300, "W4A16_NVFP4", "MARLIN", "FlashInferCuteDslNvFp4W4A16LinearKernel"),
        (RTX, "NVFP4", "FLASHINFER_CUTLASS", "FlashInferCutlassNvFp4LinearKernel"),
        (SPARK, "W4A16_NVFP4", "MARLIN", "MarlinNvFp4LinearKernel"),
    ],
)
def test_ready_means_the_kernels_that_were_planned(
    host: Host, scheme: str, moe: str, linear: str
) -> None:
    made = plan(host, schemes={"attention": scheme, "routed_experts": scheme})

    assert f"Using '{moe}' NvFp4 MoE backend" in made.expect.log_must
    assert f"Using {linear} for NVFP4 GEMM" in made.expect.log_must


def test_ready_means_the_kernel_that_the_user_asked_for() -> None:
    made = plan(RTX, "--moe-backend", "cutlass")

    assert "Using 'VLLM_CUTLASS' NvFp4 MoE backend" in made.expect.log_must


@pytest.mark.parametrize(
    "words",
    [
        ("--all2all-backend", "deepep_low_latency"),
        ("--kernel-config.linear_backend_per_quant.nvfp4_w4a4", "cutlass"),
    ],
)
def test_where_more_decides_any_kernel_is_right(words: tuple[str, ...]) -> None:
    made = plan(B300, *words)

    assert r"Using '\w+' NvFp4 MoE backend" in made.expect.log_must


def test_a_gpu_that_was_never_asked_about_is_left_to_vllm() -> None:
    made = plan(machine(8, 7))

    assert backend(made) is None
    assert r"Using '\w+' NvFp4 MoE backend" in made.expect.log_must


@pytest.mark.parametrize(
    "words",
    [
        ("--all2all-backend", "deepep_low_latency"),
        ("--kernel-config.moe_backend", "flashinfer_cutlass"),
    ],
)
def test_a_choice_of_the_users_is_not_contradicted(words: tuple[str, ...]) -> None:
    assert backend(plan(B300, *words, **V4)) is None


def test_a_backend_of_the_users_replaces_ours() -> None:
    made = plan(B300, "--moe-backend", "flashinfer_cutlass", **V4)

    assert made.argv.count("--moe-backend") == 1
    assert backend(made) == "flashinfer_cutlass"


def test_a_whole_deepseek_v4_gets_its_backend_and_a_config_that_spares_the_draft(
    tmp_path: Path,
) -> None:
    restored("constructed-deepseek-v4-nvfp4-mxfp4-mtp", tmp_path)
    v4 = read_layout(read_checkpoint(str(tmp_path)))

    made = make_plan(v4, B300, Request(), KNOWN)

    assert backend(made) == "flashinfer_trtllm"
    given = json.loads(made.argv[made.argv.index("--hf-overrides") + 1])
    assert "mtp.*" in given["quantization_config"]["ignore"]


def test_a_wish_of_the_users_to_tune_is_not_contradicted() -> None:
    made = plan(B300, "--enable-flashinfer-autotune")

    assert "--no-enable-flashinfer-autotune" in plan(B300).argv
    assert "--no-enable-flashinfer-autotune" not in made.argv


MEGA = pytest.mark.parametrize(
    "words",
    [
        ("--moe-backend", "deep_gemm_mega_moe"),
        ("--moe-backend=deep_gemm_mega_moe",),
        ("--kernel-config", '{"moe_backend": "deep-gemm-mega-moe"}'),
        ("--kernel-config.moe_backend", "deep_gemm_mega_moe"),
    ],
    ids=["two-words", "one-word", "object", "dots"],
)


@MEGA
@pytest.mark.parametrize("changes", [V4, W4A16], ids=["w4a4", "w4a16"])
def test_nvfp4_experts_are_not_given_to_a_kernel_that_takes_them_for_mxfp4(
    words: tuple[str, ...], changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="vllm#43454") as caught:
        plan(B300, *words, **changes)

    assert "flashinfer_trtllm" in caught.value.fix


@MEGA
def test_mxfp4_experts_may_have_it(words: tuple[str, ...]) -> None:
    made = plan(B300, *words, layout="mxfp4", schemes={"routed_experts": "MXFP4"})

    assert made.argv[-len(words) :] == words


@pytest.mark.parametrize(
    ("host", "words", "says"),
    [
        pytest.param(
            RTX, ("--moe-backend", "cutlass_typo"), "`cutlass`", id="misspelt"
        ),
        pytest.param(
            RTX,
            ("--moe-backend", "flashinfer_trtllm"),
            "does not support this compute capability",
            id="other-gpus-only",
        ),
        pytest.param(
            RTX,
            ("--kernel-config", '{"linear_backend": "fbgemm"}'),
            "fbgemm_gpu required",
            id="linear",
        ),
        pytest.param(
            RTX, ("--linear-backend", "marlyn"), "did you mean `marlin`", id="near"
        ),
        pytest.param(RTX, ("--moe-backend", "b12x"), "b12x.py", id="not-installed"),
    ],
)
def test_refuses_a_backend_that_vllm_would_refuse_minutes_later(
    host: Host, words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(host, *words)

    assert words[-1].split('"')[-2 if '"' in words[-1] else 0] in caught.value.problem
    assert says in " ".join(caught.value.evidence)
    assert caught.value.fix


def test_refuses_a_backend_without_the_clamp_of_the_model() -> None:
    clamped = replace(EXPERTS, swiglu_limit=10.0)

    with pytest.raises(UsageError, match="flashinfer_b12x") as caught:
        plan(RTX, "--moe-backend", "flashinfer_b12x", experts=clamped)

    assert "clamp" in caught.value.evidence[0]


def test_refuses_a_backend_without_expert_parallelism() -> None:
    two = gpu_host(*(gpu(i, capability=(12, 0)) for i in range(2)))
    words = ("--tensor-parallel-size", "2", "--enable-expert-parallel")

    with pytest.raises(UsageError, match="flashinfer_b12x") as caught:
        plan(two, *words, "--moe-backend", "flashinfer_b12x")

    assert "parallel config" in caught.value.evidence[0]


def test_refuses_a_backend_that_cannot_run_the_draft() -> None:
    with pytest.raises(UsageError, match="of the draft") as caught:
        plan(B300, "--moe-backend", "flashinfer_cutedsl", *MTP, **V4)

    assert '"moe_backend": "flashinfer_trtllm"' in caught.value.fix


@pytest.mark.parametrize(
    "speculative",
    [
        (),
        ("-sc", '{"method": "mtp", "moe_backend": "flashinfer_trtllm"}'),
        ("--speculative-config.method", "ngram"),
        ("--speculative-config", '{"model": "/models/a-drafter"}'),
    ],
    ids=["no-draft", "its-own-backend", "no-layers", "another-model"],
)
def test_a_backend_for_the_model_alone_is_enough_where_the_draft_has_its_own(
    speculative: tuple[str, ...],
) -> None:
    made = plan(B300, "--moe-backend", "flashinfer_cutedsl", *speculative, **V4)

    assert backend(made) == "flashinfer_cutedsl"


def test_a_draft_that_is_not_quantized_does_not_take_the_models_backend() -> None:
    plain = Draft(layers=1, scheme="BF16", method="mtp")

    with pytest.raises(UsageError, match="BF16 experts of the draft"):
        plan(RTX, "--moe-backend", "marlin", *MTP, draft=plain)


def test_a_draft_cannot_follow_what_the_rules_chose_for_experts_of_two_schemes() -> (
    None
):
    both = {"routed_experts": "NVFP4+W4A16_NVFP4"}
    nemotron = replace(EXPERTS, activation="relu2_no_mul", gated=False)
    plain = Draft(layers=1, scheme="BF16", method="mtp")

    with pytest.raises(UsageError, match="moe-backend marlin") as caught:
        plan(B300, *MTP, schemes=both, experts=nemotron, draft=plain)

    assert '"moe_backend": "triton"' in caught.value.fix


@pytest.mark.parametrize("capability", [(8, 9), (11, 0)])
def test_refuses_a_gpu_without_any_attention_for_the_model(
    capability: tuple[int, int],
) -> None:
    with pytest.raises(UsageError, match="no backend for `deepseek-v4`"):
        plan(machine(*capability), **V4)


def test_pictures_on_unified_memory_do_not_get_an_fp8_cache_without_scales() -> None:
    seeing = {"attention": "NVFP4", "vision": "BF16"}

    with pytest.raises(UsageError, match="pictures"):
        plan(SPARK, "--kv-cache-dtype", "fp8", schemes=seeing)


@pytest.mark.parametrize(
    ("kv_cache", "words"),
    [("FP8", ()), ("BF16", ("--language-model-only",))],
    ids=["with-scales", "no-pictures"],
)
def test_others_on_unified_memory_may_have_an_fp8_cache(
    kv_cache: str, words: tuple[str, ...]
) -> None:
    seeing = {"attention": "NVFP4", "vision": "BF16", "kv_cache": kv_cache}

    made = plan(SPARK, "--kv-cache-dtype", "fp8", *words, schemes=seeing)

    assert value(made, "--kv-cache-dtype") == "fp8"


def test_says_beside_each_kernel_what_stock_vllm_would_take() -> None:
    nemotron = replace(EXPERTS, activation="relu2_no_mul", gated=False)

    made = plan(B300, experts=nemotron)

    (experts,) = (kernel for kernel in made.kernels if kernel.part == "experts")
    assert experts.kernel == "FLASHINFER_CUTLASS"
    assert experts.stock == "FLASHINFER_TRTLLM"
    assert "corrupt" in experts.why
