"""The conditions of a recipe: how they are written, and when they hold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.errors import RecipeError
from nvfp4_serve.host import Host
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.types import Reason
from nvfp4_serve.units import GIB
from recipe_files import load, variant

GB10 = replace(
    gpu_host(gpu(capability=(12, 1), memory=None)),
    architecture="aarch64",
    memory_total=121 * GIB,
)


def reasons(folder: Path, host: Host, **when: Any) -> tuple[Reason, ...]:
    (verdict,) = judge(load(folder, variant(when=when)), None, host)
    return verdict.reasons


@pytest.mark.parametrize(
    ("key", "wanted", "holds"),
    [
        ("compute_capability", "12.0", True),
        ("compute_capability", ["9.0", "12.0"], True),
        ("compute_capability", ["12.1"], False),
        ("compute_capability", ["1.20"], None),
        ("gpus", 2, True),
        ("gpus", "2", True),
        ("gpus", 1, False),
        ("gpus", ">=2", True),
        ("gpus", ">2", False),
        ("gpus", "<=2", True),
        ("gpus", "<2", False),
        ("gpus", "1..2", True),
        ("gpus", "3..8", False),
        ("gpus", [1, "2..4"], True),
        ("gpu_memory", ">=90 GiB", True),
        ("gpu_memory", ">96 GiB", False),
        ("gpu_memory", "<98305 MiB", True),
        ("gpu_memory", "90 GiB..100 GiB", True),
        ("unified", False, True),
        ("unified", True, False),
        ("architecture", "x86_64", True),
        ("architecture", ["aarch64"], False),
        ("driver", ">=580", True),
        ("driver", ">580", False),
        ("driver", "<=580", True),
        ("driver", "580", True),
        ("driver", ">=580.95.6", False),
        ("driver", "<590.48", True),
        ("nodes", 1, True),
        ("nodes", ">=2", False),
        ("vllm", ">=0.32", True),
        ("vllm", "0.32.0", True),
        ("vllm", ">=0.33", False),
    ],
)
def test_a_condition_holds_as_it_says(
    tmp_path: Path, key: str, wanted: object, *, holds: bool | None
) -> None:
    host = gpu_host(gpu(0), gpu(1))

    if holds is None:
        with pytest.raises(RecipeError):
            reasons(tmp_path, host, **{key: wanted})
        return
    (reason,) = reasons(tmp_path, host, **{key: wanted})

    assert (reason.ok, reason.condition) == (holds, key)


@pytest.mark.parametrize(
    ("key", "wanted", "says"),
    [
        ("compute_capability", "blackwell", "'blackwell' is not a number such as"),
        ("compute_capability", ">=10.0", "'>=10.0' is not a number such as"),
        ("compute_capability", 12.0, "put it in quotes"),
        ("compute_capability", "sm_120", "'sm_120' is not a number such as"),
        ("gpus", "eight", "'eight' is not a count"),
        ("gpus", ">=-1", "'-1' is not a count"),
        ("gpus", "8..2", "'8..2' ends before it begins"),
        ("gpus", "..8", "'' is not a count"),
        ("gpus", "", "an empty text"),
        ("gpus", [], "length >= 1"),
        ("gpus", "=>8", "'=>8' is not a count"),
        ("gpu_memory", ">=90GB", "'90GB' is not a size such as '>=90 GiB'"),
        ("gpu_memory", 90, "'90' is not a size"),
        ("unified", "yes", "expected `bool | null`, got `str`"),
        ("architecture", "amd64", "'amd64' is not x86_64 or aarch64"),
        ("driver", ">=R580", "'R580' is not a version"),
        ("vllm", "==0.32", "'==0.32' is not a version"),
        ("family", "blackwell", "no such key"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, key: str, wanted: object, says: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        reasons(tmp_path, GB10, **{key: wanted})

    (fault,) = caught.value.evidence
    assert fault.startswith("line ")
    assert f"`variants[0].when.{key}" in fault
    assert says in fault


def test_every_condition_is_tested_though_the_first_is_missed(tmp_path: Path) -> None:
    found = reasons(
        tmp_path,
        GB10,
        compute_capability=["10.3"],
        gpus=">=8",
        gpu_memory=">=250 GiB",
        unified=False,
        architecture=["aarch64"],
        driver=">=580",
        nodes=1,
        vllm=">=0.32",
    )

    assert [(reason.ok, reason.wanted, reason.found) for reason in found] == [
        (False, "10.3", "12.1"),
        (False, ">=8", "1"),
        (False, ">=250 GiB", "121.0 GiB"),
        (False, "no", "yes"),
        (True, "aarch64", "aarch64"),
        (True, ">=580", "580.95.05"),
        (True, "1", "1"),
        (True, ">=0.32", "0.32.0"),
    ]


def test_a_machine_without_gpus_misses_what_is_asked_of_gpus(tmp_path: Path) -> None:
    found = reasons(
        tmp_path,
        cpu_host(),
        compute_capability="12.0",
        gpus=">=1",
        gpu_memory=">=1 GiB",
        unified=False,
        driver=">=1",
    )

    assert [(reason.ok, reason.found) for reason in found] == [
        (False, "none"),
        (False, "0"),
        (False, "not known"),
        (False, "none"),
        (False, "none"),
    ]


def test_the_memory_of_a_unified_gpu_is_the_machines(tmp_path: Path) -> None:
    (reason,) = reasons(tmp_path, GB10, gpu_memory=">=120 GiB")

    assert reason.ok


def test_nothing_is_decided_by_a_name(tmp_path: Path) -> None:
    renamed = replace(GB10, gpus=(replace(GB10.gpus[0], name="NVIDIA B300"),))

    assert reasons(tmp_path, GB10, gpus=1) == reasons(tmp_path, renamed, gpus=1)


def test_of_unlike_gpus_those_are_taken_that_fit(tmp_path: Path) -> None:
    large, small = gpu(0), gpu(1, memory=32 * GIB)
    recipes = load(tmp_path, variant(when={"gpus": 1, "gpu_memory": "<40 GiB"}))

    (verdict,) = judge(recipes, None, gpu_host(large, small))

    assert verdict.fits
    assert verdict.gpus == (small,)


def test_conditions_are_not_put_together_from_two_kinds_of_gpus(tmp_path: Path) -> None:
    large, small = gpu(0), gpu(1, capability=(9, 0), memory=32 * GIB)
    when = {"compute_capability": ["9.0"], "gpu_memory": ">=90 GiB"}

    (verdict,) = judge(load(tmp_path, variant(when=when)), None, gpu_host(large, small))

    assert len(verdict.missed) == 1


def test_instances_of_one_gpu_are_not_counted_together(tmp_path: Path) -> None:
    instances = [replace(gpu(index), mig_parent="GPU-1") for index in range(2)]

    (reason,) = reasons(tmp_path, gpu_host(*instances), gpus=">=2")

    assert reason.found == "1"


def test_nodes_are_counted_by_the_caller(tmp_path: Path) -> None:
    recipes = load(tmp_path, variant(when={"nodes": 2}))

    fits = [judge(recipes, None, GB10, nodes=count)[0].fits for count in (1, 2, 4)]

    assert fits == [False, True, False]
