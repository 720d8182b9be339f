"""What our recipes say: of enough models, for the right machines, in vLLM's words."""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engines import engine_python
from nvfp4_serve.checkpoint import read_layout
from nvfp4_serve.checkpoint.facts import read_facts as read_checkpoint_facts
from nvfp4_serve.host.facts import read_facts
from nvfp4_serve.host.types import Host
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.load import (
    load_recipe_file,
    load_recipes,
    recipe_files,
)
from nvfp4_serve.recipe.types import Arg, Recipe, Variable
from nvfp4_serve.recipe.yaml_files import parse_yaml, read_bytes

TOP = Path(__file__).parents[2]
HOSTS = TOP / "tests/data/hosts"
NAMES = TOP / "recipes/flags/names-vllm-0.32.0.json"
RECIPES = load_recipes()
FILES = recipe_files()
#: A word for something that is another thing tomorrow.
FLOATING = re.compile(
    r"\b(latest|nightly|main|master|HEAD|today|recent(ly)?|currently|now|TBD|various)\b"
)
#: Something that can be looked up: a date, a version, a file, an issue, a revision.
LOOKED_UP = re.compile(r"\d{4}|\d+\.\d+|[\w-]+/[\w.-]+|#\d+|\w\.(py|yaml|md)\b|,")
RECIPE = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.id)


@cache
def names() -> dict[str, list[str]]:
    read: dict[str, list[str]] = json.loads(NAMES.read_text())
    return read


@cache
def host(name: str) -> Host:
    return read_facts(HOSTS / f"{name}.json")


@cache
def architectures() -> dict[str, tuple[str, ...]]:
    """Return, by file, the architectures that its checkpoint may have."""
    found = {}
    for path in FILES:
        data: Any = parse_yaml(read_bytes(path), str(path)).data
        expected = load_recipe_file(path)[0].expect.architectures
        found[path.stem] = expected or tuple(data["x-architectures"])
    return found


def stem(recipe: Recipe) -> str:
    return recipe.id.partition("/")[0]


def value(recipe: Recipe, flag: str) -> Any:
    return recipe.args[flag].value if flag in recipe.args else None


def sees(recipe: Recipe) -> bool:
    return any(name in names()["multimodal"] for name in architectures()[stem(recipe)])


def rows(recipe: Recipe) -> tuple[Arg | Variable, ...]:
    return (*recipe.args.values(), *recipe.env.values())


def on(capability: str) -> list[Recipe]:
    return [
        recipe for recipe in RECIPES if capability in recipe.when.compute_capability
    ]


def test_there_are_recipes_for_forty_models_at_least() -> None:
    assert len({recipe.model_id for recipe in RECIPES}) >= 40


def test_the_tests_below_see_models_of_both_kinds() -> None:
    assert {sees(recipe) for recipe in RECIPES} == {True, False}


@pytest.mark.parametrize(
    "machines",
    [
        pytest.param(("gb10",), id="GB10"),
        pytest.param(("b300x8", "gb300x4"), id="B300"),
        pytest.param(
            tuple(f"rtx-pro-6000x{count}" for count in (1, 2, 4, 8)), id="RTX PRO 6000"
        ),
    ],
)
def test_ten_models_at_least_have_a_recipe_on(machines: tuple[str, ...]) -> None:
    served = {
        verdict.recipe.model_id
        for machine in machines
        for verdict in judge(RECIPES, None, host(machine))
        if verdict.fits
    }

    assert len(served) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_asks_for_a_layout_or_says_why_not(path: Path) -> None:
    # A folder's name alone would take it, and a folder can be called anything.
    data: Any = parse_yaml(read_bytes(path), str(path)).data

    for recipe in load_recipe_file(path):
        assert bool(recipe.expect.layouts) != bool(data.get("x-why-no-layouts"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_asks_for_an_architecture_or_says_which_it_may_be(path: Path) -> None:
    data: Any = parse_yaml(read_bytes(path), str(path)).data

    for recipe in load_recipe_file(path):
        assert bool(recipe.expect.architectures) != bool(data.get("x-architectures"))


CONSTRUCTED = {
    facts.model: facts
    for facts in map(
        read_checkpoint_facts, (TOP / "tests/data/checkpoints").glob("*.json")
    )
}
DESCRIBED = sorted({recipe.model_id for recipe in RECIPES} & CONSTRUCTED.keys())


def test_most_of_the_checkpoints_that_are_described_have_a_recipe() -> None:
    assert len(DESCRIBED) >= 8


@pytest.mark.parametrize("model", DESCRIBED)
def test_a_recipe_takes_the_checkpoint_as_it_is_described(model: str) -> None:
    checkpoint = read_layout(CONSTRUCTED[model])
    theirs = [recipe for recipe in RECIPES if recipe.model_id == model]

    for verdict in judge(theirs, checkpoint, host("b300x8")):
        asked = [r for r in verdict.reasons if r.condition.startswith("expect.")]
        assert len(asked) >= 2
        assert [reason for reason in asked if not reason.ok] == []


@RECIPE
def test_every_word_that_vllm_registers_is_registered(recipe: Recipe) -> None:
    known = names()

    for flag, kind in (
        ("--tool-call-parser", "tool_parsers"),
        ("--reasoning-parser", "reasoning_parsers"),
        ("--tokenizer-mode", "tokenizer_modes"),
        ("--load-format", "load_formats"),
        ("--attention-backend", "attention_backends"),
    ):
        assert value(recipe, flag) in (None, *known[kind]), flag


@RECIPE
def test_a_model_that_vllm_does_not_know_is_blocked(recipe: Recipe) -> None:
    mine = architectures()[stem(recipe)]
    unknown = [name for name in mine if name not in names()["architectures"]]

    if unknown:
        assert recipe.blocked
        assert unknown[0] in recipe.blocked


def test_one_of_them_is_blocked_for_its_architecture() -> None:
    told = [recipe.id for recipe in RECIPES if "register" in (recipe.blocked or "")]

    assert told == ["a.x-k2-nvfp4/b200-b300x4"]


@RECIPE
def test_a_reason_says_something(recipe: Recipe) -> None:
    for row in rows(recipe):
        assert re.search(r"\w+\W+\w+\W+\w+.*\.$", row.why, re.DOTALL), row.why


@RECIPE
def test_a_reason_does_more_than_point_at_its_source(recipe: Recipe) -> None:
    sizes = {"--tensor-parallel-size"}  # A number of GPUs is its own reason.
    pointing = r"As (in|on|its|the)\b[^,;:]*\.|The published \w+ [^,;:]* this model\."

    for name, arg in recipe.args.items():
        assert name in sizes or not re.fullmatch(pointing, arg.why), name
    for name, variable in recipe.env.items():
        assert not re.fullmatch(pointing, variable.why), name


def _sources(recipe: Recipe) -> Iterator[str]:
    yield recipe.model_source
    yield from (row.source for row in rows(recipe))
    if recipe.ready:
        yield recipe.ready.source


@RECIPE
def test_a_source_can_be_looked_up_tomorrow(recipe: Recipe) -> None:
    for source in _sources(recipe):
        assert LOOKED_UP.search(source), source
        assert not FLOATING.search(source), source
        assert not re.search(r"https?://", source), source


def _indexer(recipe: Recipe) -> str | None:
    config: Any = value(recipe, "--attention-config") or {}
    found: str | None = config.get("indexer_kv_dtype")
    return found


def test_the_four_bit_indexer_cache_is_for_ten_x_alone() -> None:
    for recipe in RECIPES:
        if _indexer(recipe) in {"mxfp4", "nvfp4"}:
            assert set(recipe.when.compute_capability) <= {"10.0", "10.3"}, recipe.id


def test_a_model_that_sees_has_sixteen_bit_keys_and_values_on_gb10() -> None:
    for recipe in on("12.1"):
        if recipe.blocked is None and sees(recipe):
            text_alone = value(recipe, "--language-model-only") is True
            said = value(recipe, "--kv-cache-dtype")
            assert text_alone or said == "bfloat16", recipe.id


def test_gb10_keeps_memory_for_the_system_and_serves_a_few() -> None:
    for recipe in on("12.1"):
        if recipe.blocked is None:
            assert value(recipe, "--gpu-memory-utilization") <= 0.8, recipe.id
            assert value(recipe, "--max-num-seqs") <= 16, recipe.id


def test_no_recipe_takes_a_backend_that_its_gpus_lack() -> None:
    # vLLM 0.32.0, the device gates in fused_moe/experts/.
    ten = {"flashinfer_trtllm", "flashinfer_cutedsl", "deep_gemm_mega_moe"}
    for recipe in RECIPES:
        if value(recipe, "--moe-backend") in ten:
            assert set(recipe.when.compute_capability) <= {"10.0", "10.3"}, recipe.id
        assert value(recipe, "--moe-backend") != "deep_gemm_mega_moe", recipe.id


def test_a_draft_does_not_inherit_a_kernel_for_experts_it_may_not_have() -> None:
    # With Marlin named for the trunk, `mtp` says what its own experts take.
    for recipe in RECIPES:
        spec: Any = value(recipe, "--speculative-config") or {}
        if value(recipe, "--moe-backend") == "marlin" and spec.get("method") == "mtp":
            assert "moe_backend" in spec, recipe.id


def test_a_blocked_recipe_says_why_in_a_sentence() -> None:
    blocked = [recipe.blocked for recipe in RECIPES if recipe.blocked is not None]

    assert len(blocked) >= 5
    assert all(re.fullmatch(r"[A-Z].{40,}\.", text, re.DOTALL) for text in blocked)


@pytest.mark.engine
def test_the_recorded_names_are_the_engines(tmp_path: Path) -> None:
    done = subprocess.run(
        [engine_python(), TOP / "tests/shipped/engine_names.py"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert json.loads(done.stdout) == names()
