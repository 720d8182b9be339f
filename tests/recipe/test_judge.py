"""Which checkpoint a recipe is for, and whether its headers agree."""

from pathlib import Path
from typing import Any

import pytest

from hosts import gpu, gpu_host
from layouts import layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.types import Verdict
from recipe_files import MODEL, load, variant

HOST = gpu_host(gpu())
REVISION = "0" * 40


def verdict(folder: Path, checkpoint: Layout, **changes: Any) -> Verdict:
    return judge(load(folder, **changes), checkpoint, HOST)[0]


def in_folder(path: str) -> Layout:
    return layout(model=path, folder=path)


@pytest.mark.parametrize(
    ("checkpoint", "is_its"),
    [
        (layout(model=MODEL, folder=None, revision=REVISION), True),
        (layout(model=MODEL.lower(), folder=None, revision=REVISION), True),
        (layout(model=MODEL, folder="/c/snapshots/x", revision=REVISION), True),
        (layout(model=f"me/{MODEL[7:]}", folder=None, revision=REVISION), False),
        (in_folder("/models/Qwen3-30B-A3B-NVFP4"), True),
        (in_folder("/models/qwen3-30b-a3b-nvfp4"), True),
        (in_folder("/models/nvidia/Qwen3-30B-A3B-NVFP4"), True),
        (in_folder("/models/qwen3"), False),
        (in_folder("/Qwen3-30B-A3B-NVFP4/other"), False),
        (
            in_folder("/c/models--nvidia--Qwen3-30B-A3B-NVFP4/snapshots/0a1b"),
            True,
        ),
        (in_folder("/c/models--me--Qwen3-30B-A3B-NVFP4/snapshots/0a1b"), False),
        (
            in_folder("/c/models--me--x/snapshots/Qwen3-30B-A3B-NVFP4"),
            False,
        ),
    ],
    ids=[
        *("hub", "hub-in-lower-case", "hub-in-the-cache", "another-owner", "folder"),
        *(
            "folder-in-lower-case",
            "folder-of-its-owner",
            "another-folder",
            "a-folder-above",
            "cache",
        ),
        *("cache-of-another-owner", "folder-in-another-cache"),
    ],
)
def test_a_recipe_is_for_the_checkpoint_of_its_name(
    tmp_path: Path, checkpoint: Layout, *, is_its: bool
) -> None:
    found = verdict(tmp_path, checkpoint)

    assert found.reasons[0].condition == "model"
    assert found.fits is is_its


@pytest.mark.parametrize(
    ("expect", "holds"),
    [
        ({"layouts": ["modelopt-per-expert"]}, True),
        ({"layouts": ["compressed-tensors", "modelopt-per-expert"]}, True),
        ({"layouts": ["compressed-tensors"]}, False),
        ({"architecture": "Qwen3MoeForCausalLM"}, True),
        ({"architecture": "Qwen3ForCausalLM"}, False),
        ({"architecture": ["Qwen3ForCausalLM", "Qwen3MoeForCausalLM"]}, True),
        ({"architecture": ["Qwen3ForCausalLM", "LlamaForCausalLM"]}, False),
        ({"schemes": {"routed_experts": "NVFP4", "attention": "NVFP4"}}, True),
        ({"schemes": {"routed_experts": "W4A16_NVFP4"}}, False),
        ({"schemes": {"mtp": "NVFP4"}}, False),
    ],
)
def test_the_headers_are_held_against_what_is_expected(
    tmp_path: Path, expect: dict[str, Any], *, holds: bool
) -> None:
    checkpoint = in_folder("/models/Qwen3-30B-A3B-NVFP4")

    assert verdict(tmp_path, checkpoint, expect=expect).fits is holds


def test_several_schemes_of_one_class_have_no_order(tmp_path: Path) -> None:
    checkpoint = layout(
        model=MODEL, folder=None, revision=REVISION, schemes={"mtp": "BF16+MXFP4"}
    )

    found = verdict(tmp_path, checkpoint, expect={"schemes": {"mtp": "MXFP4+BF16"}})

    assert found.fits


def test_a_blocked_recipe_fits_nowhere_and_says_why(tmp_path: Path) -> None:
    recipes = load(tmp_path, variant(blocked="It hangs (vllm#1)."))

    (found,) = judge(recipes, None, HOST)

    assert [reason.condition for reason in found.missed] == ["blocked"]
    assert found.missed[0].found == "It hangs (vllm#1)."


def test_every_recipe_gets_a_verdict(tmp_path: Path) -> None:
    recipes = load(tmp_path, variant(), variant(id="b", when={"gpus": 8}))

    assert [v.fits for v in judge(recipes, None, HOST)] == [True, False]
