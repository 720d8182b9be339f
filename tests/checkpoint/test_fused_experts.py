"""Fused experts that are refused, and what is left as it is."""

from pathlib import Path

import pytest

from checkpoint.builders import Stored
from checkpoint.foreign_names import fused_moe
from checkpoint.test_rewrites import EXPERTS, MOE, REFUSED, kinds, layout_of


def test_sends_gpt_oss_to_the_format_that_vllm_knows(tmp_path: Path) -> None:
    tensors = REFUSED["D-bias"][0]

    layout = layout_of(tmp_path, tensors, {"architectures": ["GptOssForCausalLM"]})

    assert [f.id for f in layout.findings] == ["fused-experts"]
    assert "vllm#46641" in layout.findings[0].message
    assert "MXFP4" in layout.findings[0].fix


def test_speaks_of_biases_only_where_one_was_seen(tmp_path: Path) -> None:
    tensors = REFUSED["D-no-scale"][0]

    layout = layout_of(tmp_path, tensors, {"architectures": ["GptOssForCausalLM"]})

    assert "bias" not in " ".join(f.message for f in layout.findings)
    assert "not certain" in layout.findings[0].message


def test_gives_the_tensors_whose_numbers_of_experts_differ(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, REFUSED["D-other-count"][0])

    assert "different numbers of experts" in layout.findings[0].message
    assert f"{EXPERTS}.gate_up_proj U8 [3, 96, 48]" in layout.findings[0].message
    assert f"{EXPERTS}.down_proj U8 [2, 96, 24]" in layout.findings[0].message


@pytest.mark.parametrize("separator", ["_", "."])
@pytest.mark.parametrize("scale", ["U8", "F8_E8M0"])
def test_takes_fused_mxfp4_experts_for_no_nvfp4(
    tmp_path: Path, separator: str, scale: str
) -> None:
    tensors: dict[str, Stored] = {}
    for name, rows, cols in (("gate_up_proj", 96, 96), ("down_proj", 96, 64)):
        module = f"{EXPERTS}.{name}"
        weight = module if separator == "_" else f"{module}.weight"
        tensors[weight] = ("U8", (3, rows, cols // 2))
        tensors[f"{module}{separator}weight_scale"] = (scale, (3, rows, cols // 32))
        tensors[f"{module}{separator}bias"] = ("BF16", (3, rows))

    layout = layout_of(tmp_path, tensors, {"architectures": ["GptOssForCausalLM"]})

    assert kinds(tensors, "GptOssForCausalLM") == layout.rewrites == ()
    assert layout.layout == "mxfp4"
    assert not {f.id for f in layout.findings} & {"fused-experts", "unknown-layout"}


@pytest.mark.parametrize(
    "name", [f"{EXPERTS}.down_proj.٣.weight", "model.image_quantizer.weight"]
)
def test_takes_for_foreign_only_what_the_adapter_does(
    tmp_path: Path, name: str
) -> None:
    tensors = {**MOE, name: ("BF16", (4, 4))}

    layout = layout_of(tmp_path, tensors)

    assert kinds(tensors, "Qwen3MoeForCausalLM") == layout.rewrites == ()
    assert layout.layout == "modelopt-per-expert"


def test_leaves_fused_experts_to_a_model_that_loads_them_itself(
    tmp_path: Path,
) -> None:
    tensors = fused_moe(transposed=True)
    architecture = "Llama4ForConditionalGeneration"

    layout = layout_of(tmp_path, tensors, {"architectures": [architecture]})

    assert kinds(tensors, architecture) == layout.rewrites == ()
    assert layout.layout == "modelopt-fused"
    assert layout.schemes["routed_experts"] == "NVFP4"
    assert layout.findings == ()
