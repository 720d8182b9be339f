import json
from pathlib import Path
from typing import Any

import pytest

from checkpoint.test_real_exports import restored
from hosts import cpu_host, gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan

SPELLINGS = {
    name: name for name in ("--moe-backend", "--kernel-config", "--all2all-backend")
}
V4 = {
    "layout": "deepseek-v4",
    "schemes": {
        "attention": "FP8_BLOCK",
        "routed_experts": "NVFP4",
        "mtp": "FP8_BLOCK+MXFP4",
    },
}
B300 = gpu_host(gpu(capability=(10, 3)))


def plan(host: Host, *extra: str, **changes: Any) -> Plan:
    return make_plan(
        layout(**changes), host, Request(extra=extra), knowledge(SPELLINGS)
    )


def backend(made: Plan) -> str | None:
    if "--moe-backend" not in made.argv:
        return None
    return made.argv[made.argv.index("--moe-backend") + 1]


@pytest.mark.parametrize("capability", [(10, 0), (10, 3)])
def test_one_backend_runs_the_experts_of_the_model_and_of_its_draft(
    capability: tuple[int, int],
) -> None:
    made = plan(gpu_host(gpu(capability=capability)), **V4)

    assert backend(made) == "flashinfer_trtllm"
    (reason,) = (r for r in made.because if r.flag.startswith("--moe-backend"))
    assert "MXFP4" in reason.why
    assert "oracle" in reason.source


@pytest.mark.parametrize(
    "host",
    [gpu_host(gpu(capability=(12, 0))), gpu_host(gpu(capability=(9, 0))), cpu_host()],
    ids=["sm_120", "sm_90", "cpu"],
)
def test_other_machines_are_left_to_vllm(host: Host) -> None:
    assert backend(plan(host, **V4)) is None


def test_other_layouts_are_left_to_vllm() -> None:
    weight_only = {**V4, "schemes": {"routed_experts": "W4A16_NVFP4"}}

    assert backend(plan(B300)) is None
    assert backend(plan(B300, **weight_only)) is None


@pytest.mark.parametrize(
    "words",
    [
        ("--all2all-backend", "deepep_low_latency"),
        ("--kernel-config.moe_backend", "cutlass"),
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

    made = make_plan(v4, B300, Request(), knowledge())

    assert backend(made) == "flashinfer_trtllm"
    given = json.loads(made.argv[made.argv.index("--hf-overrides") + 1])
    assert "mtp.*" in given["quantization_config"]["ignore"]


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
def test_nvfp4_experts_are_not_given_to_a_kernel_that_takes_them_for_mxfp4(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError, match="vllm#43454") as caught:
        plan(B300, *words, **V4)

    assert "flashinfer_trtllm" in caught.value.fix


@MEGA
def test_mxfp4_experts_may_have_it(words: tuple[str, ...]) -> None:
    made = plan(B300, *words, layout="mxfp4", schemes={"routed_experts": "MXFP4"})

    assert made.argv[-len(words) :] == words
