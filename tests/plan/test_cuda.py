import pytest

from hosts import gpu, gpu_host
from layouts import layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.units import GIB


def plan(host: Host, **changes: object) -> Plan:
    request = changes.pop("request", Request())
    return make_plan(layout(**changes), host, request, {})  # type: ignore[arg-type]


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


def test_kv_heads_decide_how_many_gpus_may_share() -> None:
    host = gpu_host(*(gpu(i, memory=16 * GIB) for i in range(8)))

    made = plan(host, weight_bytes=20 * GIB)

    assert len(made.gpus) in {2, 4}
    assert 4 % len(made.gpus) == 0
