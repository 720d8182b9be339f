"""GPUs that are less than they seem: MIG instances, and memory that nobody knows."""

from dataclasses import replace

import pytest

from hosts import gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.units import GIB


def plan(host: Host, weight_bytes: int) -> Plan:
    return make_plan(layout(weight_bytes=weight_bytes), host, Request(), knowledge())


def test_a_gpu_of_no_known_memory_is_not_taken_for_one_that_shares_the_machines() -> (
    None
):
    unknown = replace(gpu(), memory_total=None, memory_free=None)

    with pytest.raises(DoesNotFitError) as caught:
        plan(gpu_host(unknown), GIB)

    assert "does not say how much memory" in caught.value.evidence[0]


def test_mig_instances_are_never_used_together() -> None:
    parts = [
        replace(gpu(i, memory=69 * GIB), uuid=f"MIG-{i}", mig_parent="GPU-0")
        for i in (1, 2)
    ]

    assert plan(gpu_host(*parts), 20 * GIB).gpus == ("MIG-1",)
    with pytest.raises(DoesNotFitError):
        plan(gpu_host(*parts), 100 * GIB)
