"""What is found in recipes that have the right form and would not work."""

from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.recipe.environment import read_variables
from nvfp4_serve.recipe.flags import read_flags
from nvfp4_serve.recipe.lint import lint_file, lint_machines
from nvfp4_serve.recipe.load import read_recipe_file
from recipe_files import arg, load, recipe_data, variant, write_recipe

FLAGS = read_flags()
VARIABLES = read_variables()
HOSTS = {"cpu": cpu_host(), "one": gpu_host(gpu()), "two": gpu_host(gpu(0), gpu(1))}


def faults(folder: Path, *variants: Any, **changes: Any) -> list[str]:
    read = read_recipe_file(write_recipe(folder, recipe_data(*variants, **changes)))
    return [text for _, text in lint_file(read.file, FLAGS, VARIABLES)]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("--lod-format", "auto", "no such flag; did you mean `--load-format`?"),
        ("--no-enable-expert-parallel", True, "write `--enable-expert-parallel`"),
        ("--moe-backend", "cutlass_typo", "not one of its values; did you mean `cutla"),
        ("--kv-cache-dtype", "fp9", '"fp9" is not one of its values'),
        ("--enable-expert-parallel", "true", "takes no value; write true or false"),
        ("--enable-expert-parallel", 1, "takes no value; write true or false"),
        ("--block-size", True, "it takes a value, and not true"),
        ("--dtype", False, "it takes a value, and not false"),
        ("--block-size", [64, 128], "it takes one value, not a list"),
    ],
)
def test_an_argument_that_the_engine_would_not_take_is_found(
    tmp_path: Path, name: str, value: object, says: str
) -> None:
    (fault,) = faults(tmp_path, variant(args={name: arg(value)}))

    assert says in fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--enable-expert-parallel", True),
        ("--enable-expert-parallel", False),
        ("--moe-backend", "flashinfer_trtllm"),
        ("--block-size", 256),
        ("--speculative-config", {"method": "mtp"}),
        ("--kv-cache-dtype-skip-layers", ["1", "2"]),
    ],
)
def test_an_argument_that_the_engine_takes_is_left_alone(
    tmp_path: Path, name: str, value: object
) -> None:
    assert faults(tmp_path, variant(args={name: arg(value)})) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expect": {"layouts": ["deepseek-v5"]}}, "did you mean `deepseek-v4`?"),
        ({"expect": {"schemes": {"routed_expert": "NVFP4"}}}, "`routed_experts`?"),
        ({"expect": {"schemes": {"attention": "NVFP-4"}}}, "did you mean `NVFP4`?"),
        ({"base": {"args": {"--lod-format": arg("x")}}}, "`--load-format`?"),
        (
            {"base": {"env": {"VLLM_USE_FLASHINFER_MOE_FP4": arg("1")}}},
            "--moe-backend",
        ),
    ],
)
def test_words_that_nobody_knows_are_found(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    (fault,) = faults(tmp_path, **changes)

    assert says in fault


def test_a_log_line_that_is_no_pattern_is_found(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, variant(expect={"log_must": ["a", "("]}))

    assert "'(' is no pattern" in fault


def test_a_fault_knows_its_line(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, recipe_data(variant(args={"--lod-format": arg(1)})))
    read = read_recipe_file(path)

    ((where, _),) = lint_file(read.file, FLAGS, VARIABLES)

    line = path.read_text().splitlines()[read.document.line(where) - 1]
    assert "--lod-format" in line


def machines(folder: Path, *variants: Any, **changes: Any) -> list[str]:
    recipes = load(folder, *variants, **changes)
    return [text for _, text in lint_machines(recipes, HOSTS)]


def test_a_condition_that_holds_nowhere_is_found(tmp_path: Path) -> None:
    when = {"compute_capability": ["12.0"], "gpus": ">=4"}

    assert machines(tmp_path, variant(when=when)) == [
        "`when` holds on none of 3 machines"
    ]


@pytest.mark.parametrize("when", [{}, {"nodes": ">=1"}, {"architecture": "x86_64"}])
def test_a_condition_that_holds_everywhere_is_found(
    tmp_path: Path, when: dict[str, Any]
) -> None:
    assert machines(tmp_path, variant(when=when)) == [
        "`when` holds on each of 3 machines"
    ]


def test_a_condition_on_several_nodes_holds_somewhere(tmp_path: Path) -> None:
    when = {"compute_capability": ["12.0"], "nodes": 8}

    assert machines(tmp_path, variant(when=when)) == []


def test_a_blocked_recipe_is_for_the_machines_of_its_conditions(tmp_path: Path) -> None:
    assert machines(tmp_path, variant(blocked="It hangs.")) == []


def test_two_recipes_that_are_equally_good_on_a_machine_are_found(
    tmp_path: Path,
) -> None:
    first = variant(id="a", when={"gpus": 2})
    second = variant(id="b", when={"compute_capability": ["12.0"]})

    (fault,) = machines(tmp_path, first, second)

    assert fault.startswith("two, 1 nodes: Two recipes fit equally well")
    assert machines(tmp_path, first, {**second, "rank": 1}) == []
