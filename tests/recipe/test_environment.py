import pytest

from nvfp4_serve.recipe.environment import check_environment, read_variables


def faults(*names: str) -> tuple[str, ...]:
    return check_environment([(name, "1") for name in names])


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("VLLM_USE_FLASHINFER_MOE_FP4", "--moe-backend"),
        ("VLLM_FLASHINFER_MOE_BACKEND", "flashinfer_cutedsl"),
        ("VLLM_NVFP4_GEMM_BACKEND", "--linear-backend"),
        ("VLLM_MXFP4_USE_MARLIN", "--moe-backend marlin"),
        ("VLLM_ATTENTION_BACKEND", "--attention-backend"),
    ],
)
def test_names_the_flag_that_replaced_a_dead_variable(name: str, flag: str) -> None:
    (fault,) = faults(name)

    assert fault.startswith(f"{name}: ")
    assert flag in fault


def test_says_that_a_variable_is_read_by_a_fork_only() -> None:
    (fault,) = faults("VLLM_USE_B12X_MOE")

    assert "fork only" in fault


def test_names_the_nearest_variable_that_vllm_reads() -> None:
    (fault,) = faults("VLLM_LOGING_LEVEL")

    assert "did you mean `VLLM_LOGGING_LEVEL`?" in fault


@pytest.mark.parametrize(
    "name",
    [
        "VLLM_LOGGING_LEVEL",
        "VLLM_SERVICE_HOST",
        "VLLM_ROUTER_SERVICE_PORT_HTTP",
        "VLLM_PORT_8000_TCP_ADDR",
        "NCCL_DEBUG",
        "FLASHINFER_CUDA_ARCH_LIST",
    ],
)
def test_leaves_alone_what_vllm_reads_and_what_is_not_vllms(name: str) -> None:
    assert faults(name) == ()


def test_no_variable_that_vllm_reads_is_called_dead() -> None:
    variables = read_variables()

    assert variables.known & variables.removed.keys() == set()
