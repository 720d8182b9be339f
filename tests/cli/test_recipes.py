"""What `nvfp4-serve recipes` says, and what `plan` says of recipes."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from checkpoint.test_real_exports import restored
from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import RecipeError, UsageError
from recipe_files import arg, recipe_data, variant, write_recipe

HOSTS = Path(__file__).parents[1] / "data/hosts"
B300 = ("--facts", str(HOSTS / "b300x8.json"))
GB10 = ("--facts", str(HOSTS / "gb10.json"))
B200 = ("--facts", str(HOSTS / "b200x8.json"))
MISSION = "canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP"
#: What its headers say, constructed; nothing is read or asked for it.
KNOWN = (
    *(MISSION, "--checkpoint-facts"),
    str(HOSTS.parent / "checkpoints/deepseek-v4-pro-nvfp4-fp8-mtp.json"),
)
ID = "deepseek-v4-pro-nvfp4-fp8-mtp/b300x8"


def run(*words: str) -> str:
    done = CliRunner().invoke(
        commands, words, catch_exceptions=False, standalone_mode=False
    )
    return done.stdout


def run_json(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The mission's model with three experts, in a folder of its name."""
    folder = tmp_path / "DeepSeek-V4-Pro-NVFP4-FP8-MTP"
    folder.mkdir()
    restored("constructed-deepseek-v4-nvfp4-mxfp4-mtp", folder)
    return str(folder)


def test_every_condition_is_printed_with_what_was_wanted_and_found(tiny: str) -> None:
    lines = run("recipes", tiny, *GB10).splitlines()

    assert lines[0] == f"{ID}  imported, does not fit"
    rows = {words[1]: words[0] for words in map(str.split, lines) if len(words) > 3}
    assert rows["compute_capability"] == "NO"
    assert rows["expect.layouts"] == rows["driver"] == rows["nodes"] == "ok"
    assert any(line.endswith("wanted >=8, found 1") for line in lines)
    assert any("A plan is made by rules then" in line for line in lines)


def test_the_recipe_that_a_plan_takes_is_named(tiny: str) -> None:
    assert f"a plan takes {ID}" in run("recipes", tiny, *B300)


def test_json_holds_every_verdict_with_its_reasons_and_the_choice(tiny: str) -> None:
    said = run_json("recipes", tiny, *B300)

    assert said["chosen"] == ID
    (recipe,) = said["recipes"]
    assert recipe["fits"]
    assert recipe["id"] == ID
    assert recipe["when"]["gpus"] == [">=8"]
    assert recipe["args"]["--block-size"]["value"] == 256
    assert len(recipe["gpus"]) == 8
    wanted = {reason["condition"]: reason["wanted"] for reason in recipe["reasons"]}
    assert wanted["compute_capability"] == "10.3"


def test_a_model_may_be_asked_for_by_its_name_alone() -> None:
    said = run_json("recipes", MISSION, "--by-name", *B300)

    conditions = [reason["condition"] for reason in said["recipes"][0]["reasons"]]
    assert said["chosen"] == ID
    assert not any(condition.startswith("expect") for condition in conditions)


def test_a_model_without_recipes_is_said_to_have_none() -> None:
    text = run("recipes", "me/DeepSeek-V4-Pro-NVFP4-FP8", "--by-name", *B300)

    assert "no recipe is for me/DeepSeek-V4-Pro-NVFP4-FP8" in text
    assert "there are recipes for DeepSeek-V4-Pro-NVFP4-FP8-MTP" in text


def test_without_a_model_those_that_fit_the_machine_are_listed() -> None:
    fitting = run("recipes", *B300)
    missing = run("recipes", *GB10)
    every = run("recipes", "--all", *GB10)

    assert any(row.split()[:2] == [ID, "imported"] for row in fitting.splitlines())
    assert ID not in missing
    assert "`--all` says why" in missing
    row = next(line for line in every.splitlines() if line.startswith(ID))
    assert "NO  compute_capability: wanted 10.3, found 12.1; gpus: wanted >=8" in row


def test_several_nodes_are_counted() -> None:
    one = run_json("recipes", MISSION, "--by-name", *B300)
    two = run_json("recipes", MISSION, "--by-name", "--nodes", "2", *B300)

    assert [said["recipes"][0]["fits"] for said in (one, two)] == [True, False]


def test_two_models_are_refused() -> None:
    with pytest.raises(UsageError, match="2 models"):
        run("recipes", "a/b", "c/d")


def test_hosts_without_check_are_refused() -> None:
    with pytest.raises(UsageError, match="--check"):
        run("recipes", "--hosts", str(HOSTS))


def test_our_own_recipes_are_right_on_the_recorded_machines() -> None:
    assert "files are right" in run("recipes", "--check", "--hosts", str(HOSTS))


def test_everything_that_is_wrong_with_files_is_said_at_once(tmp_path: Path) -> None:
    one = write_recipe(tmp_path, recipe_data(id="one", status="importd"))
    two = write_recipe(
        tmp_path,
        recipe_data(
            variant(args={"--lod-format": arg("auto")}, when={"gpus": 99}), id="two"
        ),
    )
    three = write_recipe(
        tmp_path,
        recipe_data(variant(args={"--tensor-parallel-size": arg("x")}), id="three"),
    )

    with pytest.raises(RecipeError, match="3 recipe files") as caught:
        run("recipes", "--check", "--hosts", str(HOSTS), *map(str, (one, two, three)))

    said = "\n".join(caught.value.evidence)
    assert "did you mean `imported`?" in said
    assert "did you mean `--load-format`?" in said
    assert "'x'; it must be a whole number" in said
    assert "two/sm120: `when` holds on none of" in said


def test_the_missions_model_is_planned_as_its_recipe_says() -> None:
    made = run_json("plan", *KNOWN, *B300)

    argv = made["argv"]
    values = dict(pairwise(argv))
    assert (made["recipe_id"], made["status"]) == (ID, "imported")
    assert len(made["gpus"]) == 8
    assert values["--tensor-parallel-size"] == "8"
    assert "--enable-expert-parallel" in argv
    assert values["--moe-backend"] == "flashinfer_trtllm"
    assert values["--kv-cache-dtype"] == "fp8"
    assert values["--block-size"] == "256"
    assert json.loads(values["--speculative-config"]) == {
        "method": "mtp",
        "num_speculative_tokens": 1,
    }
    config = json.loads(values["--hf-overrides"])["quantization_config"]
    assert "mtp.*" in config["ignore"]


def test_a_plan_names_its_recipe_or_the_nearest() -> None:
    with_one, without = run("plan", *KNOWN, *B300), run("plan", *KNOWN, *B200)

    assert f"\nrecipe      {ID}\n" in with_one
    assert "\nready       900 s at the first start; canada-quant/" in with_one
    assert "\nrecipe      none; rules alone\n" in without
    assert f"info: No recipe fits this machine. The nearest, `{ID}`, misses" in without


def test_a_recipe_can_be_refused_and_forced() -> None:
    refused = run_json("plan", *KNOWN, "--recipe", "none", *B300)
    forced = run_json("plan", *KNOWN, "--recipe", ID, *B200)

    assert refused["recipe_id"] is None
    assert refused["findings"] == []
    assert forced["recipe_id"] == ID
    assert [finding["id"] for finding in forced["findings"]] == ["recipe-forced"]


def test_a_shell_command_says_which_recipe_it_is_of() -> None:
    text = run("plan", *KNOWN, "--shell", *B300)

    assert text.startswith(f"# vllm==0.32.0, imported, recipe {ID}\n")
    assert "--enable-expert-parallel \\\n" in text


def test_a_folder_of_the_name_with_other_headers_is_planned_by_rules_and_says_so(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "DeepSeek-V4-Pro-NVFP4-FP8-MTP"
    folder.mkdir()
    restored("modelopt-0.47.0-nvfp4", folder)

    made = run_json("plan", str(folder), *B300)

    assert made["recipe_id"] is None
    (finding,) = made["findings"]
    assert finding["id"] == "recipe-for-other-headers"
    assert "wanted deepseek-v4, found modelopt-per-expert" in finding["message"]
