from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.units import GIB

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"
EP = "--enable-expert-parallel"
SPELLINGS = {
    "--tensor-parallel-size": "--tensor-parallel-size",
    EP: EP,
    "--no-enable-expert-parallel": EP,
}
#: 96 = 6 blocks of 16, which two GPUs can share, and four cannot.
NARROW = {
    "model.layers.0.self_attn.q_proj": 40,
    "model.layers.0.self_attn.o_proj": 2048,
    "model.layers.0.mlp.experts.*.down_proj": 96,
}
FOUR = gpu_host(*(gpu(i, memory=32 * GIB) for i in range(4)))


def plan(host: Host, *extra: str, **changes: Any) -> Plan:
    made = {"input_widths": NARROW} | changes
    return make_plan(layout(**made), host, Request(extra=extra), knowledge(SPELLINGS))


@pytest.mark.parametrize("host", [FOUR, cpu_host()], ids=["gpu", "cpu"])
def test_a_number_of_gpus_that_would_cut_a_block_is_refused(host: Host) -> None:
    with pytest.raises(DoesNotFitError, match="would be cut") as caught:
        plan(host, "--tensor-parallel-size", "4")

    (line,) = caught.value.evidence
    assert line.startswith("model.layers.0.mlp.experts.*.down_proj: 96 input features")
    assert "--tensor-parallel-size 2" in caught.value.fix


def test_a_number_of_gpus_that_cuts_between_blocks_is_taken() -> None:
    assert len(plan(FOUR, "--tensor-parallel-size", "2").gpus) == 2


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.linear_attn.out_proj",
        "backbone.layers.0.mixer.out_proj",
        "model.layers.0.mlp.shared_experts.down_proj",
    ],
)
def test_every_layer_that_is_cut_along_its_input_counts(name: str) -> None:
    with pytest.raises(DoesNotFitError, match="would be cut"):
        plan(FOUR, "--tensor-parallel-size", "4", EP, input_widths={name: 96})


def test_expert_parallelism_leaves_experts_whole() -> None:
    assert len(plan(FOUR, "--tensor-parallel-size", "4", EP).gpus) == 4
    with pytest.raises(DoesNotFitError):
        plan(FOUR, "--tensor-parallel-size", "4", "--no-enable-expert-parallel")


def test_the_plan_takes_no_number_that_would_cut_a_block() -> None:
    assert len(plan(FOUR, weight_bytes=60 * GIB, input_widths={}).gpus) == 4
    with pytest.raises(DoesNotFitError) as caught:
        plan(FOUR, weight_bytes=60 * GIB)

    assert [line[:3] for line in caught.value.evidence] == ["1 x", "2 x"]


def test_the_widths_of_a_real_checkpoint_are_read() -> None:
    # moe_intermediate_size 256, and 6 heads of 64.
    widths = read_layout(read_checkpoint(str(EXAMPLE))).input_widths

    assert widths["model.layers.0.mlp.experts.*.down_proj"] == 256
    assert widths["model.layers.1.self_attn.o_proj"] == 384
