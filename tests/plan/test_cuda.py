from typing import Any

import pytest

from hosts import gpu, gpu_host
from layouts import full_attention, knowledge, layout
from nvfp4_serve.errors import DoesNotFitError, UsageError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.units import GIB

SPELLINGS = {
    name: name
    for name in (
        "--tensor-parallel-size",
        "--pipeline-parallel-size",
        "--gpu-memory-utilization",
        "--kv-cache-dtype",
        "--load-format",
    )
}


def plan(host: Host, *extra: str, length: int | None = None, **changes: Any) -> Plan:
    request = Request(max_model_len=length, extra=extra)
    return make_plan(layout(**changes), host, request, knowledge(SPELLINGS))


def flag(made: Plan, name: str) -> str | None:
    if name not in made.argv:
        return None
    return made.argv[made.argv.index(name) + 1]


def test_the_fewest_gpus_that_hold_it_are_used() -> None:
    host = gpu_host(*(gpu(i, memory=32 * GIB) for i in range(8)))

    made = plan(host, weight_bytes=60 * GIB)

    assert len(made.gpus) == 4
    assert made.argv[made.argv.index("--tensor-parallel-size") + 1] == "4"
    assert made.engine == "vllm==0.32.0"


def test_unlike_gpus_are_not_mixed() -> None:
    host = gpu_host(gpu(0, memory=32 * GIB), gpu(1, memory=96 * GIB))

    assert plan(host, weight_bytes=40 * GIB).gpus == ("GPU-00000001",)


def test_unified_memory_leaves_a_fifth_to_the_system() -> None:
    host = gpu_host(gpu(capability=(12, 1), memory=None))

    made = plan(host)

    assert made.budget.total == host.memory_total
    assert made.argv[made.argv.index("--gpu-memory-utilization") + 1] == "0.8"


def test_a_checkpoint_that_is_too_big_is_refused_with_every_sum() -> None:
    host = gpu_host(gpu(0), gpu(1))

    with pytest.raises(DoesNotFitError) as caught:
        plan(host, weight_bytes=900 * GIB)

    assert [line[:3] for line in caught.value.evidence] == ["1 x", "2 x"]


def test_a_gpu_that_cannot_run_nvfp4_is_named() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(gpu_host(gpu(capability=(7, 0))))

    assert "7.0; NVFP4 needs 7.5" in caught.value.evidence[0]


def test_the_number_of_attention_heads_decides_how_many_may_share() -> None:
    # vLLM refuses 14 heads on 4 GPUs, though 2 KV heads could be shared among 4.
    host = gpu_host(*(gpu(i, memory=24 * GIB) for i in range(4)))
    heads: dict[str, Any] = {"attention_heads": 14, "kv": full_attention(24, 2, 64)}

    assert len(plan(host, weight_bytes=30 * GIB, **heads).gpus) == 2
    with pytest.raises(DoesNotFitError) as caught:
        plan(host, weight_bytes=60 * GIB, **heads)
    assert [line[:3] for line in caught.value.evidence] == ["1 x", "2 x"]


def test_a_whole_context_is_worth_another_gpu() -> None:
    # 73.6 GiB usable: 69.5 of weights and 4 of engine leave room for 1,000 tokens.
    host = gpu_host(*(gpu(i, memory=80 * GIB) for i in range(8)))

    made = plan(host, weight_bytes=int(69.5 * GIB))

    assert len(made.gpus) == 2
    assert flag(made, "--max-model-len") == "40960"


def test_the_longest_context_wins_where_no_number_holds_all_of_it() -> None:
    host = gpu_host(gpu(0, memory=24 * GIB), gpu(1, memory=24 * GIB))

    made = plan(host, weight_bytes=35 * GIB)

    assert len(made.gpus) == 2
    assert 0 < int(flag(made, "--max-model-len") or 0) < 40_960


def test_a_context_that_was_asked_for_survives_without_plain_attention() -> None:
    made = plan(gpu_host(gpu()), kv=None, length=4096)

    assert flag(made, "--max-model-len") == "4096"


def test_the_engine_sees_the_gpus_of_the_plan() -> None:
    host = gpu_host(gpu(0, memory=32 * GIB), gpu(1))

    made = plan(host, weight_bytes=40 * GIB)

    assert dict(made.env)["CUDA_VISIBLE_DEVICES"] == "GPU-00000001"
    assert any(r.flag.startswith("CUDA_VISIBLE_DEVICES=") for r in made.because)


def test_a_busy_gpu_is_left_for_an_idle_one() -> None:
    host = gpu_host(gpu(0, free=10 * GIB), gpu(1))

    assert plan(host).gpus == ("GPU-00000001",)


def test_no_more_is_asked_for_than_is_free() -> None:
    made = plan(gpu_host(gpu(free=72 * GIB)))

    assert flag(made, "--gpu-memory-utilization") == "0.75"
    assert any("free now" in r.why for r in made.because)


def test_a_number_of_gpus_that_was_asked_for_is_used() -> None:
    host = gpu_host(*(gpu(i) for i in range(4)))

    made = plan(host, "--tensor-parallel-size", "2", "--pipeline-parallel-size=2")

    assert len(made.gpus) == 4
    assert 0 <= made.budget.weights - 17 * GIB // 4 <= 48
    assert len(made.budgets) == 4
    assert made.argv.count("--tensor-parallel-size") == 1


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(gpu_host(gpu()), "--tensor-parallel-size", "4")

    assert "fewer of its kind than the 4" in caught.value.evidence[0]


def test_the_budget_counts_with_the_users_own_flags() -> None:
    host = gpu_host(gpu(memory=32 * GIB))

    half = plan(host, "--kv-cache-dtype", "fp8", weight_bytes=24 * GIB)
    full = plan(host, weight_bytes=24 * GIB)
    less = plan(host, "--gpu-memory-utilization", "0.9", weight_bytes=24 * GIB)

    lengths = [int(flag(made, "--max-model-len") or 0) for made in (less, full, half)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--tensor-parallel-size", "two"),
        ("--tensor-parallel-size=0",),
        ("--gpu-memory-utilization", "1.5"),
        ("--load-format", "dummy"),
    ],
)
def test_a_value_that_cannot_be_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="it must be"):
        plan(gpu_host(gpu()), *words)


def test_load_tracking_is_left_out_where_the_loader_does_not_take_it() -> None:
    host = gpu_host(gpu())

    assert flag(plan(host), "--model-loader-extra-config")
    assert not flag(
        plan(host, "--load-format", "runai_streamer"), "--model-loader-extra-config"
    )
