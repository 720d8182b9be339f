"""What no rewrite makes right: refused, with the evidence and what to do."""

from __future__ import annotations

import pytest
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import RewriteError, Stored

from rewrite.described import (
    COLS,
    EXPERTS,
    MODULE,
    ROWS,
    canonical,
    compressed_state,
    fused,
)

Tensors = dict[str, Stored]
_GATE = f"{MODULE}.0.gate_proj"


def _refusal(tensors: Tensors, architecture: str | None = None) -> RewriteError:
    with pytest.raises(RewriteError) as caught:
        make_rewrite(tensors, architecture)
    assert caught.value.fix
    assert caught.value.evidence
    return caught.value


def test_vllm_38980_block_scales_of_half_the_width_are_refused() -> None:
    stored = canonical() | {
        f"{_GATE}.weight_scale": Stored("F8_E4M3", (ROWS, COLS // 32)),
        f"{_GATE}.weight_quantizer._double_scale": Stored("F32", ()),
    }

    error = _refusal(stored)

    assert "vllm#38980" in error.problem
    assert f"{_GATE}.weight_scale F8_E4M3 [64, 3]" in error.evidence[0]
    assert "0.46" in error.fix


def test_taking_the_leaked_names_out_does_not_make_them_right() -> None:
    wrong = {f"{_GATE}.weight_scale": Stored("F8_E4M3", (ROWS, COLS // 32))}

    assert "vllm#38980" in _refusal(canonical() | wrong).problem


def test_block_scales_of_too_few_rows_are_refused() -> None:
    wrong = {f"{_GATE}.weight_scale": Stored("F8_E4M3", (ROWS - 1, COLS // 16))}

    assert "do not cover" in _refusal(canonical() | wrong).problem


@pytest.mark.parametrize(
    "name",
    [
        f"{_GATE}.weight_quantizer._something",
        f"{_GATE}.input_quantizer._pre_quant_scale",
        f"{_GATE}.output_quantizer._amax",
        f"{_GATE}.input_quantizer.0._amax",
        f"{MODULE}.down_proj_weight_quantizers.0._amax",
        "model.layers.0.self_attn.k_bmm_quantizer._bias_value",
        "model.norm.input_quantizer._amax",
    ],
)
def test_a_state_without_a_place_is_refused(name: str) -> None:
    error = _refusal(compressed_state() | {name: Stored("F32", ())})

    assert error.evidence == (f"{name} F32 []",)


@pytest.mark.parametrize(
    "lost",
    ["weight", "weight_quantizer._scale", "weight_quantizer._double_scale"],
)
def test_a_state_that_is_not_whole_is_refused(lost: str) -> None:
    stored = compressed_state()
    del stored[f"{_GATE}.{lost}"]

    assert all(_GATE in line for line in _refusal(stored).evidence)


def test_a_state_beside_a_leaked_export_is_refused() -> None:
    stored = canonical() | {
        f"{_GATE}.weight_quantizer._double_scale": Stored("F32", ())
    }

    assert "state of a quantizer" in _refusal(stored).problem


def test_vllm_46641_gpt_oss_has_a_reason_of_its_own() -> None:
    stored = fused(columns_first=True, separator="_", scalar=())
    stored[f"{MODULE}.gate_up_proj_bias"] = Stored("BF16", (EXPERTS, 2 * ROWS))
    stored[f"{MODULE}.down_proj_bias"] = Stored("BF16", (EXPERTS, COLS))

    error = _refusal(stored, "GptOssForCausalLM")

    assert "GptOssForCausalLM" in error.problem
    assert "biases" in error.problem
    assert "vllm#46641" in error.problem
    assert "one by one" in error.evidence[1]
    assert "MXFP4" in error.fix


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(None, id="absent"),
        pytest.param(Stored("F8_E4M3", (EXPERTS, 2 * ROWS, COLS // 32)), id="halved"),
        pytest.param(Stored("F32", (EXPERTS, 2 * ROWS, COLS // 16)), id="other-dtype"),
        pytest.param(Stored("F8_E8M0", (EXPERTS, 2 * ROWS, COLS // 32)), id="e8m0"),
    ],
)
def test_fused_experts_without_fitting_block_scales_are_refused(
    scale: Stored | None,
) -> None:
    stored = fused(columns_first=False, separator="_", scalar=())
    name = f"{MODULE}.gate_up_proj_weight_scale"
    del stored[name]
    if scale is not None:
        stored[name] = scale

    assert "not certain" in _refusal(stored).problem


def test_biases_without_an_architecture_are_refused_without_its_name() -> None:
    stored = fused(columns_first=True, separator="_", scalar=())
    stored[f"{MODULE}.down_proj_bias"] = Stored("BF16", (EXPERTS, COLS))

    assert "None" not in str(_refusal(stored))


def test_projections_with_other_numbers_of_experts_are_refused() -> None:
    stored = fused(columns_first=False, separator=".", scalar=())
    for suffix in ("weight", "weight_scale"):
        name = f"{MODULE}.down_proj.{suffix}"
        stored[name] = Stored(stored[name].dtype, (2, *stored[name].shape[1:]))

    error = _refusal(stored)

    assert "different numbers of experts" in error.problem
    assert error.evidence == (
        f"{MODULE}.gate_up_proj.weight U8 [3, 128, 48]",
        f"{MODULE}.down_proj.weight U8 [2, 96, 32]",
    )


@pytest.mark.parametrize(
    "shape", [(60_000_000, 0, 0), (60_000_000, 16, 8), (65_537, 16, 8), (0, 16, 8)]
)
def test_sizes_that_no_model_has_are_refused_before_anything_is_made(
    shape: tuple[int, int, int],
) -> None:
    stored = {
        f"{MODULE}.down_proj": Stored("U8", shape),
        f"{MODULE}.down_proj_weight_scale": Stored(
            "F8_E4M3", (*shape[:2], shape[2] // 8)
        ),
    }

    error = _refusal(stored)

    assert "65,536" in error.problem
    assert f"{MODULE}.down_proj U8 {list(shape)}" in error.evidence


def test_block_scales_of_other_experts_are_refused() -> None:
    stored = fused(columns_first=False, separator="_", scalar=())
    stored[f"{MODULE}.down_proj_input_scale"] = Stored("F32", (2, 1, 1))

    assert "for 3 experts" in _refusal(stored).problem


def test_as_many_scalars_as_nobody_has_are_refused() -> None:
    stored = fused(columns_first=False, separator="_", scalar=(EXPERTS + 1,))

    assert "for 3 experts" in _refusal(stored).problem


def test_an_odd_number_of_rows_is_no_gate_and_up() -> None:
    stored = {
        f"{MODULE}.gate_up_proj": Stored("U8", (EXPERTS, 33, COLS // 2)),
        f"{MODULE}.gate_up_proj_weight_scale": Stored(
            "F8_E4M3", (EXPERTS, 33, COLS // 16)
        ),
    }

    assert "no gate and up" in _refusal(stored).problem


def test_a_tensor_in_two_layouts_is_refused() -> None:
    twice = {f"{MODULE}.gate_proj.0.weight": Stored("U8", (ROWS, COLS // 2))}

    error = _refusal(canonical() | twice)

    assert error.evidence == (f"{_GATE}.weight",)


def test_two_tensors_that_become_one_are_refused() -> None:
    stored = fused(columns_first=False, separator="_", scalar=())
    stored |= fused(columns_first=False, separator=".", scalar=())

    assert "stored twice" in _refusal(stored).problem


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "weight",
        ".weight",
        "weight_scale",
        "model..experts..weight",
        ".experts.",
        "experts.0",
        "x.experts.gate_proj.0",
        "x.experts.0.0.weight",
        "x.experts.gate_proj.٣.weight",
        "\u202ex\x00\n.weight",
        "x.experts.gate_up_proj_weight_scale",
        "a" * 100_000,
        ".experts." * 10_000,
    ],
)
@pytest.mark.parametrize(
    "stored",
    [Stored("U8", ()), Stored("U8", (0, 0)), Stored("F8_E4M3", (4,)), Stored("?", ())],
)
def test_a_strange_name_alone_needs_nothing_or_keeps_its_tensor(
    name: str, stored: Stored
) -> None:
    rewrite = make_rewrite({name: stored}, None)

    assert rewrite is None or len(rewrite.pieces) == 1
