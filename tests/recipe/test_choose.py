"""Which of several recipes is taken, and what is said where none is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts import gpu, gpu_host
from layouts import layout
from nvfp4_serve.errors import RecipeError, UsageError
from nvfp4_serve.finding import Severity
from nvfp4_serve.recipe.choose import Chosen, choose
from nvfp4_serve.recipe.judge import judge
from recipe_files import load, variant

QWEN3 = layout(
    model="/m/Qwen3-30B-A3B-NVFP4", folder="/m/Qwen3-30B-A3B-NVFP4", revision=None
)
HOST = gpu_host(gpu(0), gpu(1))
SM120 = {"compute_capability": ["12.0"]}


def chosen(
    folder: Path, *variants: dict[str, Any], wanted: str | None = None, **file: Any
) -> Chosen:
    return choose(judge(load(folder, *variants, **file), QWEN3, HOST), wanted)


def chosen_id(*given: Any, **named: Any) -> str | None:
    verdict = chosen(*given, **named).verdict
    return None if verdict is None else verdict.recipe.id


def test_the_better_status_is_taken_before_more_conditions(tmp_path: Path) -> None:
    many = variant(id="a", when={**SM120, "gpus": 2, "unified": False})

    assert chosen_id(tmp_path, many, variant(id="b", status="ported")) == "qwen3/b"


def test_of_one_status_more_conditions_are_taken_before_rank(tmp_path: Path) -> None:
    ranked = variant(id="a", rank=9)
    exact = variant(id="b", when={**SM120, "gpus": ">=2"})

    assert chosen_id(tmp_path, ranked, exact) == "qwen3/b"


def test_of_as_many_conditions_the_higher_rank_is_taken(tmp_path: Path) -> None:
    low, high = variant(id="a", rank=-1), variant(id="b")

    assert chosen_id(tmp_path, low, high) == "qwen3/b"
    assert chosen_id(tmp_path, high, low) == "qwen3/b"


def test_two_equal_ones_are_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`qwen3/a` and `qwen3/b`") as caught:
        chosen(tmp_path, variant(id="a"), variant(id="b"))

    assert "--recipe" in caught.value.fix
    assert len(caught.value.evidence) == 2


def test_two_equal_ones_that_do_not_fit_are_no_error(tmp_path: Path) -> None:
    when = {"compute_capability": ["9.0"]}

    made = chosen(tmp_path, variant(id="a", when=when), variant(id="b", when=when))

    assert made.verdict is None


def test_one_that_does_not_fit_is_not_taken_for_its_status(tmp_path: Path) -> None:
    better = variant(id="a", status="ported", when={"gpus": ">=8"})

    assert chosen_id(tmp_path, better, variant(id="b")) == "qwen3/b"


def test_where_none_fits_the_nearest_is_named_with_what_it_misses(
    tmp_path: Path,
) -> None:
    near = variant(id="near", when={**SM120, "gpus": ">=8"})
    far = variant(id="far", when={"compute_capability": ["9.0"], "gpus": ">=8"})

    made = chosen(tmp_path, far, near)

    (finding,) = made.findings
    assert (finding.id, finding.severity) == ("recipe-nearest", Severity.INFO)
    assert "`qwen3/near`, misses gpus: wanted >=8, found 2." in finding.message


def test_one_that_is_known_not_to_work_is_said_to_be(tmp_path: Path) -> None:
    made = chosen(tmp_path, variant(blocked="It hangs (vllm#1)."))

    assert made.verdict is None
    (finding,) = made.findings
    assert finding.id == "recipe-blocked"
    assert "`qwen3/sm120`" in finding.message
    assert "It hangs (vllm#1)." in finding.message


def test_a_checkpoint_of_the_name_with_other_headers_is_said_to_be(
    tmp_path: Path,
) -> None:
    made = chosen(tmp_path, expect={"schemes": {"routed_experts": "W4A16_NVFP4"}})

    assert made.verdict is None
    (finding,) = made.findings
    assert finding.id == "recipe-for-other-headers"
    assert finding.severity is Severity.WARNING
    assert "wanted W4A16_NVFP4, found NVFP4" in finding.message


def test_recipes_of_other_models_are_not_spoken_of(tmp_path: Path) -> None:
    made = chosen(tmp_path, model={"id": "nvidia/Other", "source": "a test"})

    assert made == Chosen(None)


def test_none_may_be_asked_for(tmp_path: Path) -> None:
    assert chosen(tmp_path, variant(), wanted="none") == Chosen(None)


def test_one_that_is_asked_for_is_taken_before_a_better_one(tmp_path: Path) -> None:
    worse, better = variant(id="a"), variant(id="b", status="ported")

    assert chosen_id(tmp_path, worse, better, wanted="qwen3/a") == "qwen3/a"


def test_a_files_id_stands_for_the_best_of_its_variants(tmp_path: Path) -> None:
    variants = variant(id="a"), variant(id="b", status="ported")

    assert chosen_id(tmp_path, *variants, wanted="qwen3") == "qwen3/b"


def test_one_that_is_asked_for_and_does_not_fit_is_taken_with_a_warning(
    tmp_path: Path,
) -> None:
    made = chosen(tmp_path, variant(when={"gpus": ">=8"}), wanted="qwen3/sm120")

    assert made.verdict is not None
    (finding,) = made.findings
    assert (finding.id, finding.severity) == ("recipe-forced", Severity.WARNING)
    assert "gpus: wanted >=8, found 2" in finding.message


def test_one_that_is_asked_for_may_be_of_another_model_but_not_of_other_headers(
    tmp_path: Path,
) -> None:
    other = {"id": "nvidia/Other", "source": "a test"}

    made = chosen(tmp_path, model=other, wanted="qwen3/sm120")

    assert made.verdict is not None
    assert "model: wanted nvidia/Other" in made.findings[0].message
    with pytest.raises(RecipeError, match="for another checkpoint") as caught:
        chosen(tmp_path, wanted="qwen3/sm120", expect={"layouts": ["mxfp4"]})
    assert caught.value.evidence == (
        "expect.layouts: wanted mxfp4, found modelopt-per-expert",
    )


def test_a_misspelt_id_is_told_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean `qwen3/sm120`") as caught:
        chosen(tmp_path, wanted="qwen3/sm12")

    assert caught.value.evidence == ("of this model: qwen3/sm120",)


def test_a_files_id_does_not_choose_among_variants_that_miss(tmp_path: Path) -> None:
    when = {"gpus": ">=8"}

    with pytest.raises(UsageError, match="No variant") as caught:
        chosen(
            tmp_path,
            variant(id="a", when=when),
            variant(id="b", when=when),
            wanted="qwen3",
        )

    assert len(caught.value.evidence) == 2


def of_two_owners(folder: Path, path: str, **second: Any) -> Chosen:
    """Return what is taken for the checkpoint at ``path``, where two have its name."""
    other = {"id": "me/Qwen3-30B-A3B-NVFP4", "source": "a test"}
    recipes = [
        *load(folder, variant(rank=1)),
        *load(folder, variant(), id="other", model=other, **second),
    ]
    return choose(judge(recipes, replace(QWEN3, model=path, folder=path), HOST))


def test_of_two_owners_of_one_name_no_recipe_is_guessed(tmp_path: Path) -> None:
    found = of_two_owners(tmp_path, "/m/Qwen3-30B-A3B-NVFP4")

    assert found.verdict is None
    (said,) = found.findings
    assert said.severity is Severity.WARNING
    assert "me/Qwen3-30B-A3B-NVFP4 or nvidia/Qwen3-30B-A3B-NVFP4" in said.message


@pytest.mark.parametrize(("owner", "taken"), [("nvidia", "qwen3"), ("Me", "other")])
def test_a_folder_of_the_owners_name_says_whose_it_is(
    tmp_path: Path, owner: str, taken: str
) -> None:
    found = of_two_owners(tmp_path, f"/m/{owner}/Qwen3-30B-A3B-NVFP4")

    assert found.verdict is not None
    assert found.verdict.recipe.id == f"{taken}/sm120"


def test_headers_tell_two_owners_apart(tmp_path: Path) -> None:
    found = of_two_owners(
        tmp_path, "/m/Qwen3-30B-A3B-NVFP4", expect={"layouts": ["compressed-tensors"]}
    )

    assert found.verdict is not None
    assert found.verdict.recipe.id == "qwen3/sm120"
