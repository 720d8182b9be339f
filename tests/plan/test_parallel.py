"""How many GPUs, whether experts stay whole, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from layouts import full_attention, knowledge, layout, shared_evenly
from nvfp4_serve.checkpoint.shapes import Cut, KvKind, KvLayers, KvShape, Part, Widths
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError, UndecidedError, UsageError
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.units import GIB

HOSTS = Path(__file__).parents[1] / "data" / "hosts"
EP = "--enable-expert-parallel"
SPELLINGS = {
    name: name
    for name in (
        "--tensor-parallel-size",
        "--pipeline-parallel-size",
        "--data-parallel-size",
        "--gpu-memory-utilization",
        "--kv-cache-memory-bytes",
        "--max-num-seqs",
        "--moe-backend",
        "--speculative-config",
        EP,
    )
} | {"-tp": "--tensor-parallel-size", "--no-enable-expert-parallel": EP}
LAYERS, EXPERTS, EXPERT, HIDDEN = 61, 384, 3072, 7168
#: Of one layer: NVFP4 takes 9/16 byte a value.
LAYER_EXPERTS = EXPERTS * 3 * EXPERT * HIDDEN * 9 // 16
WHOLE_MODEL = 913 * GIB


def deepseek_v4_pro() -> Layout:
    """About the mission's model: 61 layers of 384 experts, 913 GiB, some of it MTP."""
    routed = [
        Part(Cut.EXPERTS, layer, EXPERTS, draft=False, bytes=LAYER_EXPERTS)
        for layer in range(LAYERS)
    ]
    draft = Part(Cut.EXPERTS, None, EXPERTS, draft=True, bytes=LAYER_EXPERTS)
    rest = WHOLE_MODEL - LAYER_EXPERTS * (LAYERS + 1)
    # Half of the rest can be cut; the other is made smaller for every token first.
    others = [
        Part(Cut.SHARDED, None, 1, draft=False, bytes=rest // 2),
        Part(Cut.REPLICATED, None, 1, draft=False, bytes=rest // 2),
    ]
    return layout(
        model="canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP",
        folder=None,
        architecture="DeepseekV4ForCausalLM",
        layout="deepseek-v4",
        schemes={"routed_experts": "NVFP4", "mtp": "MXFP4", "attention": "FP8_BLOCK"},
        weight_bytes=WHOLE_MODEL,
        dequantized_bytes=3 * WHOLE_MODEL,
        parts=(*routed, draft, *others),
        max_position_embeddings=1_048_576,
        attention_heads=128,
        kv=None,
        widths=Widths(
            layers=LAYERS,
            hidden=HIDDEN,
            vocabulary=129_280,
            expert_intermediate=EXPERT,
            experts=EXPERTS,
            experts_per_token=6,
        ),
    )


def plan(made_of: Layout, host: Host, *extra: str, length: int | None = None) -> Plan:
    request = Request(extra=extra, max_model_len=length)
    return make_plan(made_of, host, request, knowledge(SPELLINGS))


def host(name: str) -> Host:
    return read_facts(HOSTS / f"{name}.json")


def test_the_missions_model_is_served_by_eight_b300_that_share_its_experts() -> None:
    made = plan(deepseek_v4_pro(), host("b300x8"))

    words = list(made.argv)
    assert words[words.index("--tensor-parallel-size") + 1] == "8"
    assert EP in words
    assert len(made.budgets) == 8
    # 48 of 384 experts of each layer, and none of the draft's: nobody asked for it.
    rest = WHOLE_MODEL - LAYER_EXPERTS * (LAYERS + 1)
    shared = LAYERS * LAYER_EXPERTS // 8 + rest // 2 // 8
    assert made.budget.weights == pytest.approx(shared + rest // 2, rel=1e-6)
    assert made.budget.replicated == rest // 2


def test_the_missions_model_does_not_fit_eight_rtx_pro_6000_and_the_sum_says_so() -> (
    None
):
    with pytest.raises(DoesNotFitError) as caught:
        plan(deepseek_v4_pro(), host("rtx-pro-6000x8"))

    rows = caught.value.evidence
    assert [row[:3] for row in rows] == ["1 x", "2 x", "4 x", "8 x"]
    assert "experts whole" in rows[-1]
    assert "weights" in rows[-1]
    assert "missing" in rows[-1]
    assert "8 x B300" in caught.value.fix


def test_a_draft_that_is_asked_for_is_loaded() -> None:
    speculative = '{"method": "mtp", "num_speculative_tokens": 1}'

    without = plan(deepseek_v4_pro(), host("b300x8"))
    drafted = plan(
        deepseek_v4_pro(), host("b300x8"), "--speculative-config", speculative
    )

    more = drafted.budget.weights - without.budget.weights
    assert more == LAYER_EXPERTS // 8


@pytest.mark.parametrize(
    ("width", "experts", "why"),
    [
        pytest.param(40, 128, "padded", id="40-of-a-GPU"),
        pytest.param(256, 256, None, id="few-GPUs"),
        pytest.param(40, 1, None, id="one-expert"),
    ],
)
def test_experts_stay_whole_where_that_is_better(
    width: int, experts: int, why: str | None
) -> None:
    widths = Widths(expert_intermediate=2 * width, experts=experts)
    made_of = layout(weight_bytes=40 * GIB, widths=widths)
    pair = gpu_host(*(gpu(i, memory=32 * GIB) for i in range(2)))

    made = plan(made_of, pair)

    reasons = [reason.why for reason in made.because if reason.flag == EP]
    assert bool(reasons) == (why is not None)
    assert all(why is not None and why in reason for reason in reasons)


def test_experts_are_cut_where_that_was_asked_for() -> None:
    made = plan(deepseek_v4_pro(), host("b300x8"), "--no-enable-expert-parallel")

    assert EP not in made.argv


@pytest.mark.parametrize(
    ("words", "changes", "says"),
    [
        pytest.param(
            ("-tp", "3"), {"attention_heads": 4}, "4 attention heads", id="heads"
        ),
        pytest.param(
            ("-tp", "4"),
            {"attention_heads": 24, "kv": full_attention(48, 6, 128)},
            "6 KV heads over 4 GPUs",
            id="kv-heads",
        ),
        pytest.param(
            ("-tp", "4"),
            {"widths": Widths(linear_heads=(16, 30))},
            "30 heads of linear attention over 4",
            id="linear-heads",
        ),
        pytest.param(
            ("-tp", "8", EP),
            {"widths": Widths(experts=4)},
            "4 experts over 8 GPUs",
            id="experts",
        ),
        pytest.param(
            ("--pipeline-parallel-size", "64"),
            {"widths": Widths(layers=48)},
            "48 layers in 64 stages",
            id="stages",
        ),
    ],
)
@pytest.mark.parametrize("on", [gpu_host(*map(gpu, range(8))), cpu_host()])
def test_what_cannot_be_shared_is_refused(
    words: tuple[str, ...], changes: dict[str, Any], says: str, on: Host
) -> None:
    with pytest.raises(UsageError, match="cannot be shared") as caught:
        plan(layout(**changes), on, *words)

    assert says in caught.value.evidence[0]


def test_more_gpus_than_there_are_are_counted() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(layout(attention_heads=32), gpu_host(*map(gpu, range(8))), "-tp", "16")

    assert "there are 8, fewer of its kind than the 16" in caught.value.evidence[0]


def test_a_machine_that_shares_its_memory_keeps_a_tenth_whatever_is_asked() -> None:
    with pytest.raises(UsageError, match=r"0\.95; on NVIDIA GB10") as caught:
        plan(layout(), host("gb10"), "--gpu-memory-utilization", "0.95")

    assert "--kv-cache-memory-bytes" in caught.value.fix


def test_a_machine_that_shares_its_memory_serves_few_at_once() -> None:
    made = plan(layout(), host("gb10"))

    assert made.argv[made.argv.index("--max-num-seqs") + 1] == "8"
    assert "0.8" in made.argv
    asked = plan(layout(), host("gb10"), "--max-num-seqs", "2")
    assert asked.argv.count("--max-num-seqs") == 1


def test_memory_that_the_system_uses_is_not_promised() -> None:
    shared = gpu_host(gpu(capability=(12, 1), memory=None), memory_available=72 * GIB)

    made = plan(layout(), shared)

    # 72 of 128 GiB, less 8 for the system.
    assert made.argv[made.argv.index("--gpu-memory-utilization") + 1] == "0.5"


def test_a_cache_that_is_larger_than_what_is_free_is_refused() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(layout(), gpu_host(gpu()), "--kv-cache-memory-bytes", "200G")

    assert "missing" in caught.value.evidence[0]


def test_a_cache_that_is_named_may_take_what_a_fraction_would_leave() -> None:
    # 94 of 96 GiB are more than 0.92 of them.
    named = "--kv-cache-memory-bytes"

    made = plan(layout(), gpu_host(gpu()), named, "74G")

    assert made.budget.kv_cache == 74 * GIB
    with pytest.raises(DoesNotFitError):
        plan(layout(), gpu_host(gpu(free=60 * GIB)), named, "74G")


def test_a_plan_for_one_of_several_machines_says_what_it_did_not_count() -> None:
    spellings = {"--nnodes": "--nnodes", "--node-rank": "--node-rank"}
    words = ("--nnodes", "2", "--node-rank", "0")

    made = make_plan(
        layout(), gpu_host(gpu()), Request(extra=words), knowledge(spellings)
    )

    assert [finding.id for finding in made.findings] == ["one-machine-counted"]


def test_a_fraction_that_is_not_free_is_refused() -> None:
    with pytest.raises(UsageError, match="less is free now") as caught:
        plan(
            layout(),
            gpu_host(gpu(free=40 * GIB)),
            "--gpu-memory-utilization",
            "0.9",
        )

    assert caught.value.evidence == ("constructed sm_120: 40.0 GiB free of 96.0 GiB",)


def test_a_fraction_is_taken_of_a_gpu_that_has_it_free() -> None:
    pair = gpu_host(gpu(0, free=40 * GIB), gpu(1))

    made = plan(layout(), pair, "--gpu-memory-utilization", "0.9")

    assert made.gpus == ("GPU-00000001",)


def test_a_context_that_is_too_long_is_refused_with_one_that_is_not() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(layout(), gpu_host(gpu(memory=32 * GIB)), length=1_000_000)

    assert "KV cache of 1000000 tokens" in caught.value.evidence[0]
    found = caught.value.fix.partition("--max-model-len ")[2].split("`")[0]
    assert len(plan(layout(), gpu_host(gpu(memory=32 * GIB)), length=int(found)).gpus)


def test_more_of_the_same_are_proposed_with_their_number() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(layout(weight_bytes=100 * GIB), gpu_host(gpu(memory=48 * GIB)))

    assert "4 x constructed sm_120" in caught.value.fix


@pytest.mark.parametrize("capability", [(10, 7), (13, 0)])
def test_a_gpu_that_is_newer_than_the_rules_is_not_planned_for(
    capability: tuple[int, int],
) -> None:
    with pytest.raises(UndecidedError) as caught:
        plan(layout(), gpu_host(gpu(capability=capability)))

    (line,) = caught.value.evidence
    assert "not among those that the rules of this version know" in line


def test_a_gpu_that_says_it_has_no_memory_is_not_planned_for() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(layout(), gpu_host(gpu(memory=0)))

    assert "does not say how much memory" in caught.value.evidence[0]


def test_stages_hold_their_own_layers() -> None:
    made_of = layout(
        weight_bytes=50 * GIB,
        parts=shared_evenly(50 * GIB, 5),
        widths=Widths(layers=5),
    )
    pair = gpu_host(*(gpu(i, memory=64 * GIB) for i in range(2)))

    made = plan(made_of, pair, "--pipeline-parallel-size", "2")

    # Five layers: vLLM gives the odd one to the first of two stages.
    assert [budget.weights // GIB for budget in made.budgets] == [30, 20]
    assert made.budget == made.budgets[0]


def test_the_fullest_stage_is_the_plans_where_all_have_the_cache_asked_for() -> None:
    parts = tuple(
        Part(Cut.SHARDED, layer, 1, draft=False, bytes=size * GIB)
        for layer, size in enumerate((10, 30))
    )
    made_of = layout(parts=parts, widths=Widths(layers=2))
    pair = gpu_host(*(gpu(i, memory=64 * GIB) for i in range(2)))
    cache = ("--kv-cache-memory-bytes", "8G")

    made = plan(made_of, pair, "--pipeline-parallel-size", "2", *cache)

    assert [budget.weights // GIB for budget in made.budgets] == [10, 30]
    assert made.budget == made.budgets[1]


def test_every_gpu_of_a_copy_holds_all_and_experts_can_be_shared_by_copies() -> None:
    pair = gpu_host(*(gpu(i) for i in range(2)))
    made_of = layout(
        parts=(Part(Cut.EXPERTS, 0, 8, draft=False, bytes=16 * GIB),),
        widths=Widths(experts=8, expert_intermediate=128),
    )

    copies = plan(made_of, pair, "--data-parallel-size", "2")
    shared = plan(made_of, pair, "--data-parallel-size", "2", EP)

    assert copies.budget.weights == 16 * GIB
    assert shared.budget.weights == 8 * GIB


def test_latent_attention_keeps_the_same_on_every_gpu() -> None:
    shape = KvShape((KvLayers(KvKind.LATENT, tuple(range(48)), width=576),))
    pair = gpu_host(*(gpu(i, memory=32 * GIB) for i in range(2)))

    one = plan(layout(kv=shape), pair, "-tp", "1")
    two = plan(layout(kv=shape), pair, "-tp", "2")

    per_token = 48 * 576 * 2
    for made in (one, two):
        assert made.kv_cache_tokens is not None
        whole = made.kv_cache_tokens * per_token
        assert 0 <= made.budget.kv_cache - whole < 17 * per_token
