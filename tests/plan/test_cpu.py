from contextlib import nullcontext

import pytest

from hosts import cpu_host
from layouts import full_attention, knowledge, layout
from nvfp4_serve.checkpoint.shapes import Widths
from nvfp4_serve.errors import DoesNotFitError, UsageError
from nvfp4_serve.plan import Plan, Request, Status, make_plan
from nvfp4_serve.plan.types import Budget
from nvfp4_serve.recipe.environment import read_variables
from nvfp4_serve.units import GIB, MIB

SPELLINGS = {
    "--max-num-seqs": "--max-num-seqs",
    "--enforce-eager": "--enforce-eager",
    "--no-enforce-eager": "--enforce-eager",
    "--tensor-parallel-size": "--tensor-parallel-size",
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "--kv-cache-memory-bytes": "--kv-cache-memory-bytes",
}


def plan(**changes: object) -> Plan:
    host = changes.pop("host", cpu_host())
    request = changes.pop("request", Request())
    known = knowledge(SPELLINGS, variables=read_variables())
    return make_plan(layout(**changes), host, request, known)  # type: ignore[arg-type]


def flag(made: Plan, name: str) -> str | None:
    if name not in made.argv:
        return None
    return made.argv[made.argv.index(name) + 1]


def test_the_model_is_the_first_word() -> None:
    assert plan().argv[0] == "/models/qwen3-30b-a3b-nvfp4"


def test_a_plan_without_a_recipe_says_so() -> None:
    made = plan()

    assert made.recipe_id is None
    assert made.status is Status.INFERRED


def test_every_flag_and_variable_has_a_reason_and_a_source() -> None:
    made = plan(request=Request(extra=("--max-num-seqs", "4", "-tp", "1")))

    given = {w for w in made.argv if w.startswith("-")} | {name for name, _ in made.env}
    explained = {r.flag.replace("=", " ").split()[0] for r in made.because}
    assert given == explained
    assert all(r.why.endswith(".") and r.source for r in made.because)


def test_the_budget_adds_up() -> None:
    budget = plan().budget

    used = budget.weights + budget.overhead + budget.kv_cache + budget.free
    assert used == budget.total == 120 * GIB
    assert budget.weights == 57 * GIB


def test_the_cache_holds_four_contexts_where_there_is_room() -> None:
    # 2 x 48 layers x 4 heads x 128 x 2 bytes = 98,304 bytes a token.
    made = plan()

    # A context is 320 blocks of 128, and one more is never used.
    assert made.budget.kv_cache == (4 * 320 + 1) * 128 * 98_304
    assert made.kv_cache_tokens == (4 * 320 + 1) * 128
    assert flag(made, "--kv-cache-memory-bytes") == str(made.budget.kv_cache)
    assert flag(made, "--max-model-len") == "40960"


def test_an_fp8_cache_takes_half() -> None:
    made = plan(schemes={"kv_cache": "FP8"})

    assert made.budget.kv_cache == (4 * 320 + 1) * 128 * 98_304 // 2


def test_the_context_shrinks_to_what_fits_in_whole_blocks() -> None:
    made = plan(host=cpu_host(memory_available=64 * GIB))

    length = int(flag(made, "--max-model-len") or 0)
    assert length % 128 == 0
    assert 0 < (length + 128) * 98_304 <= made.budget.kv_cache
    assert made.budget.kv_cache < (length + 256) * 98_304


def test_a_context_that_was_asked_for_is_never_shortened() -> None:
    with pytest.raises(DoesNotFitError, match="is to be 40960") as caught:
        plan(
            host=cpu_host(memory_available=64 * GIB),
            request=Request(max_model_len=40_960),
        )

    assert "the context takes 320 blocks" in caught.value.evidence


def test_a_cache_that_holds_no_block_is_refused_before_anything_starts() -> None:
    with pytest.raises(DoesNotFitError, match="holds 0 tokens of one request"):
        plan(request=Request(extra=("--kv-cache-memory-bytes", "1000")))


def test_weights_that_do_not_fit_are_refused_with_the_sum() -> None:
    with pytest.raises(DoesNotFitError, match=r"59\.2 GiB.*50\.0 GiB") as caught:
        plan(host=cpu_host(memory_available=50 * GIB))

    assert "--max-model-len" in caught.value.fix


def test_an_attention_that_is_not_plain_gets_memory_and_no_promise() -> None:
    made = plan(kv=None)

    assert "--max-model-len" not in made.argv
    assert made.budget.kv_cache > 0


def test_a_machine_without_a_compiler_is_told_why_torch_compile_is_off() -> None:
    made = plan(host=cpu_host(cxx_compiler=None))

    (reason,) = (r for r in made.because if r.flag == "--enforce-eager")
    assert "compiler" in reason.why
    assert dict(made.env)["TORCH_COMPILE_DISABLE"] == "1"


def test_load_tracking_is_on_except_where_it_refuses_right_checkpoints() -> None:
    tracked = "--model-loader-extra-config"

    assert tracked in plan().argv
    assert tracked not in plan(schemes={"attention": "W4A16_NVFP4"}).argv
    assert tracked not in plan(layout="unquantized").argv


def test_a_flag_of_the_users_replaces_ours_in_either_form() -> None:
    made = plan(
        host=cpu_host(cxx_compiler=None),
        request=Request(extra=("--no_enforce-eager",)),
    )

    assert "--enforce-eager" not in made.argv
    assert made.argv[-1] == "--no_enforce-eager"
    assert "TORCH_COMPILE_DISABLE" not in dict(made.env)


def test_a_hub_checkpoint_is_pinned_to_the_commit_that_was_read() -> None:
    made = plan(model="org/name", folder=None, revision="a" * 40)

    assert made.argv[0] == "org/name"
    assert flag(made, "--revision") == "a" * 40
    assert "HF_HUB_OFFLINE" not in dict(made.env)
    assert made.mounts == ()


def test_a_cached_hub_model_keeps_its_name() -> None:
    made = plan(model="org/name", folder="/cache/snapshots/0123", revision="a" * 40)

    assert made.served_model_name == "org/name"


def test_a_cache_that_was_asked_for_is_the_budgets() -> None:
    made = plan(request=Request(extra=("--kv-cache-memory-bytes", "2G")))

    assert made.budget.kv_cache == 2 * GIB
    assert made.argv.count("--kv-cache-memory-bytes") == 1


def test_a_tiny_model_leaves_the_machine_alone() -> None:
    made = plan(
        dequantized_bytes=MIB,
        max_position_embeddings=512,
        kv=full_attention(layers=2, heads=2, head_dim=16),
    )

    assert isinstance(made.budget, Budget)
    assert made.budget.kv_cache == 256 * MIB


def test_the_planned_kernels_must_show_in_the_log() -> None:
    mixed = plan(schemes={"attention": "BF16", "routed_experts": "FP8+NVFP4"})

    assert [pattern.split()[0] for pattern in mixed.expect.log_must] == ["NVFP4"]
    assert len(plan().expect.log_must) == 2
    assert plan(schemes={"attention": "BF16"}).expect.log_must == ()


def test_one_worker_runs_beside_the_core_and_counts_its_threads() -> None:
    variables = dict(plan(host=cpu_host(cpus=6)).env)

    assert variables["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert variables["OMP_NUM_THREADS"] == "6"


@pytest.mark.parametrize(
    ("nodes", "words"), [(2, ()), (2, ("-tp", "2"))], ids=["two-sockets", "two-workers"]
)
def test_more_than_one_worker_or_node_is_left_to_the_engine(
    nodes: int, words: tuple[str, ...]
) -> None:
    made = plan(host=cpu_host(numa_nodes=nodes), request=Request(extra=words))

    assert not {"VLLM_ENABLE_V1_MULTIPROCESSING", "OMP_NUM_THREADS"} & set(
        dict(made.env)
    )


@pytest.mark.parametrize("words", [("-tp", "2"), ("-pp=2",)])
def test_more_workers_than_memory_nodes_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"2 workers.*this machine has 1"):
        plan(request=Request(extra=words))


@pytest.mark.parametrize(
    ("name", "value", "is_refused"),
    [
        ("VLLM_CPU_OMP_THREADS_BIND", "0-7|8-15", False),
        ("VLLM_CPU_OMP_THREADS_BIND", "auto", True),
        ("VLLM_CPU_SIM_MULTI_NUMA", "1", False),
        ("VLLM_CPU_SIM_MULTI_NUMA", "0", True),
    ],
)
def test_workers_that_are_bound_by_hand_need_no_node_each(
    name: str, value: str, is_refused: bool
) -> None:
    request = Request(extra=("-tp", "2"), environment=((name, value),))

    outcome = pytest.raises(UsageError) if is_refused else nullcontext()
    with outcome:
        plan(request=request)


def test_copies_of_a_model_with_experts_are_refused() -> None:
    with pytest.raises(UsageError, match="2 copies"):
        plan(request=Request(extra=("-dp", "2")), widths=Widths(experts=128))


def test_each_copy_has_its_own_weights() -> None:
    made = plan(request=Request(extra=("-dp", "2")), widths=Widths())

    assert made.budget.weights == 2 * 57 * GIB


def test_a_worker_has_the_memory_of_one_node() -> None:
    with pytest.raises(DoesNotFitError, match=r"59\.2 GiB.*50\.0 GiB") as caught:
        plan(host=cpu_host(memory_available=100 * GIB, numa_nodes=2))

    assert "`-- --tensor-parallel-size 2` uses every node" in caught.value.fix
    with pytest.raises(DoesNotFitError) as caught:
        plan(host=cpu_host(memory_available=50 * GIB, numa_nodes=2))
    assert "--tensor-parallel-size" not in caught.value.fix


@pytest.mark.parametrize(("words", "in_container"), [(("-tp", "2"), False), ((), True)])
def test_two_workers_have_both_nodes_and_a_container_its_limit(
    words: tuple[str, ...], in_container: bool
) -> None:
    host = cpu_host(memory_available=100 * GIB, numa_nodes=2, in_container=in_container)

    made = plan(host=host, request=Request(extra=words))

    assert made.budget.usable == made.budget.total == 100 * GIB
