"""Recipe files: what they may say, and what becomes of it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.load import load_recipes, load_recipes_for
from nvfp4_serve.recipe.types import Arg, Ready, Status, Variable
from recipe_files import arg, load, recipe_data, variant, write_recipe


def faults(folder: Path, *variants: Any, **changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        load(folder, *variants, **changes)
    assert all(line.startswith("line ") for line in caught.value.evidence)
    return "\n".join(caught.value.evidence)


def test_a_variant_has_what_the_file_says_of_all_and_its_own(tmp_path: Path) -> None:
    base = {
        "args": {"--block-size": arg(64), "--enforce-eager": arg(value=True)},
        "env": {"VLLM_A": arg("1"), "VLLM_B": arg("1")},
    }
    own = variant(
        args={"--block-size": arg(256), "--kv-cache-dtype": arg("fp8")},
        env={"VLLM_B": arg("2")},
        unset=["--enforce-eager", "VLLM_A"],
        status="ported",
        ready={"cold_seconds": 900, "source": "a log"},
        notes=["A note."],
        rank=3,
    )

    own_recipe, other = load(tmp_path, own, variant(id="other"), base=base)

    assert own_recipe.id == "qwen3/sm120"
    assert own_recipe.args == {
        "--block-size": Arg(256, "It is needed.", "a test"),
        "--kv-cache-dtype": Arg("fp8", "It is needed.", "a test"),
    }
    assert own_recipe.env == {"VLLM_B": Variable("2", "It is needed.", "a test")}
    assert own_recipe.status is Status.PORTED
    assert own_recipe.ready == Ready(900, None, "a log")
    assert (own_recipe.notes, own_recipe.rank) == (("A note.",), 3)
    assert set(other.args) == {"--block-size", "--enforce-eager"}
    assert (other.status, other.ready, other.rank) == (Status.IMPORTED, None, 0)


def test_values_become_words_and_never_shell(tmp_path: Path) -> None:
    (recipe,) = load(
        tmp_path,
        variant(
            args={
                "--a": arg(value=True),
                "--b": arg(value=False),
                "--c": arg(8),
                "--d": arg(0.5),
                "--e": arg("$(reboot); 'x'"),
                "--f": arg({"method": "mtp", "on": True}),
                "--g": arg([1, "two"]),
            }
        ),
    )

    assert recipe.words == (
        *("--a", "--no-b", "--c", "8", "--d", "0.5", "--e", "$(reboot); 'x'"),
        *("--f", '{"method":"mtp","on":true}', "--g", "1", "two"),
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": "nvfp4-serve/recipe/v2"}, "invalid enum value"),
        ({"schema": None}, "the key `schema` is missing"),
        ({"id": "Qwen3"}, "matching regex"),
        ({"model": {"id": "qwen3", "source": "x"}}, "`model.id`"),
        ({"model": {"id": "a/b"}}, "the key `source` is missing"),
        ({"model": {"id": "a/b", "source": "x", "revision": "main"}}, "`model.revis"),
        ({"status": "importd"}, "did you mean `imported`?"),
        ({"status": "inferred"}, "'inferred' is none of"),
        ({"variants": []}, "length >= 1"),
        ({"expects": {}}, "`expects`: no such key; did you mean `expect`?"),
        ({"status": "verified"}, "what is `verified` names a file that shows it"),
    ],
)
def test_a_file_that_says_it_wrong_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    assert says in faults(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "SM 120"}, "matching regex"),
        ({"wehn": {}}, "did you mean `when`?"),
        ({"args": {"--x": {"value": 1, "why": "y"}}}, "the key `source` is missing"),
        ({"args": {"--x": {"value": 1, "source": "y"}}}, "the key `why` is missing"),
        ({"args": {"--x": arg(1, why="")}}, "length >= 1"),
        ({"args": {"--x": arg(None)}}, "`variants[0].args.--x.value`"),
        ({"env": {"VLLM_X": arg(1)}}, "put it in quotes"),
        ({"unset": ["--x"]}, "`--x` is not in `base`"),
        ({"unset": ["--a"], "args": {"--a": arg(1)}}, "`--a` is unset and set"),
        ({"ready": {"source": "x"}}, "neither `cold_seconds` nor `warm_seconds`"),
        ({"ready": {"source": "x", "cold_seconds": 0}}, "`variants[0].ready.cold_s"),
        ({"evidence": ["evidence/none.json"]}, "is no file under"),
        ({"evidence": ["../../../etc/passwd"]}, "is no file under"),
        ({"expect": {"canary": "/etc/passwd"}}, "is no file under"),
        ({"status": "best"}, "'best' is none of verified, ported, imported"),
        ({"rank": "high"}, "expected `int`"),
    ],
)
def test_a_variant_that_says_it_wrong_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    assert says in faults(tmp_path, variant(**changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("--trust-remote-code", True), ("--trust-remote-code", False)),
        *(("--host", "0.0.0.0"), ("--port", 80), ("--api-key", "x")),  # noqa: S104
        *(("--hf-token", "x"), ("--model", "/m"), ("--config", "c.yaml")),
        *(("--served-model-name", "x"), ("--revision", "main")),
        *(("--load-format", "dummy"), ("--no-trust-remote-code", True)),
        *(("--max_model_len", 8), ("-tp", 8), ("--a.b", 1), ("--x=1", True)),
    ],
)
def test_what_is_not_a_recipes_to_say_is_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    said = faults(tmp_path, variant(args={name: arg(value)}))

    assert f"`variants[0].args.{name}`" in said


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "VLLM_API_KEY", "LD_PRELOAD", "PYTHONPATH", "PATH", "lower", "A-B"],
)
def test_a_variable_that_is_not_a_recipes_to_set_is_refused(
    tmp_path: Path, name: str
) -> None:
    said = faults(tmp_path, base={"env": {name: arg("x")}})

    assert f"`base.env.{name}`" in said


def test_the_files_name_is_its_id(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, recipe_data())
    path.rename(tmp_path / "other.yaml")

    with pytest.raises(RecipeError) as caught:
        load_recipes(tmp_path)

    assert "it is 'qwen3', and the file 'other.yaml'" in caught.value.evidence[0]


def test_two_variants_of_one_id_are_refused(tmp_path: Path) -> None:
    assert "'sm120' stands twice" in faults(tmp_path, variant(), variant())


def test_every_fault_of_every_file_is_said_at_once(tmp_path: Path) -> None:
    write_recipe(tmp_path, recipe_data(id="one", status="x"))
    write_recipe(tmp_path, recipe_data(variant(rank="x", wehn=1), id="two"))

    with pytest.raises(RecipeError, match="2 recipe files are not right") as caught:
        load_recipes(tmp_path)

    said = "\n".join(caught.value.evidence)
    assert all(name in said for name in ("one.yaml", "two.yaml", "`status`", "wehn"))


def test_only_the_files_that_name_the_model_are_parsed(tmp_path: Path) -> None:
    write_recipe(tmp_path, recipe_data())
    (tmp_path / "broken.yaml").write_text("a: [")

    found = load_recipes_for(["qwen3-30b-a3b-nvfp4"], tmp_path)

    assert [recipe.id for recipe in found] == ["qwen3/sm120"]


def test_a_broken_file_that_names_the_model_is_no_silence(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("model: {id: a/Qwen3-30B-A3B-NVFP4")

    with pytest.raises(RecipeError, match=r"broken\.yaml"):
        load_recipes_for(["Qwen3-30B-A3B-NVFP4"], tmp_path)


def test_without_libyaml_the_same_is_read() -> None:
    script = (
        "import sys, yaml\n"
        "if sys.argv[1] == 'pure': del yaml.CSafeLoader\n"
        "from nvfp4_serve.recipe.load import load_recipes\n"
        "print(load_recipes())\n"
    )

    pure, fast = (
        subprocess.run(
            [sys.executable, "-c", script, kind],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kind in ("pure", "fast")
    )

    assert pure == fast
    assert "deepseek-v4-pro-nvfp4-fp8-mtp/b300x8" in pure


def test_the_example_of_the_documentation_is_a_recipe(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "model-name.yaml"
    path.write_text(example)

    (recipe,) = load_recipes(tmp_path)

    assert recipe.id == "model-name/gb10"
    assert recipe.words == ("--kv-cache-dtype", "fp8")
