"""What becomes of each layout, from descriptions of tensors alone."""

from __future__ import annotations

import pytest
from nvfp4_layouts.fused import told_apart
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Piece, Stored

from rewrite.described import (
    COLS,
    EXPERTS,
    MODULE,
    PROJECTIONS,
    ROWS,
    canonical,
    compressed_state,
    fused,
    linear,
)

Tensors = dict[str, Stored]


def _seen(tensors: Tensors, architecture: str | None = None) -> Tensors:
    """Return what a loader would see."""
    rewrite = make_rewrite(tensors, architecture)
    assert rewrite is not None
    seen = {name: each for name, each in tensors.items() if name not in rewrite.pieces}
    for pieces in rewrite.pieces.values():
        for piece in pieces:
            assert piece.name not in seen
            seen[piece.name] = Stored(piece.dtype, piece.shape)
    return seen


def _kinds(tensors: Tensors, architecture: str | None = None) -> set[str]:
    rewrite = make_rewrite(tensors, architecture)
    assert rewrite is not None
    return set(rewrite.kinds)


def _projection_first(tensors: Tensors) -> Tensors:
    turned = {}
    for name, stored in tensors.items():
        if ".experts." in name:
            before, after = name.split(".experts.")
            number, projection, suffix = after.split(".", 2)
            turned[f"{before}.experts.{projection}.{number}.{suffix}"] = stored
        else:
            turned[name] = stored
    return turned


def test_a_layout_that_loaders_know_needs_nothing() -> None:
    assert make_rewrite(canonical(), "Qwen3MoeForCausalLM") is None


def test_names_of_other_models_need_nothing() -> None:
    e16 = linear("model.layers.0.mlp.gate_proj")
    e16["model.layers.0.mlp.gate_proj.weight_packed"] = e16.pop(
        "model.layers.0.mlp.gate_proj.weight"
    )
    e16["model.layers.0.mlp.gate_proj.weight_global_scale"] = e16.pop(
        "model.layers.0.mlp.gate_proj.weight_scale_2"
    )
    mxfp4 = {
        "model.layers.0.mlp.experts.gate_up_proj_blocks": Stored("U8", (4, 64, 2, 16)),
        "model.layers.0.mlp.experts.gate_up_proj_scales": Stored("U8", (4, 64, 2)),
        "mtp.0.ffn.experts.0.w1.weight": Stored("I8", (64, 32)),
        "mtp.0.ffn.experts.0.w1.scale": Stored("F8_E8M0", (64, 2)),
        "model.experts.gate_up_proj": Stored("BF16", (4, 64, 64)),
        "a.weight": Stored("F8_E4M3", (64, 64)),
        "a.weight_scale": Stored("F32", ()),
    }

    assert make_rewrite(e16 | mxfp4, None) is None


@pytest.mark.parametrize("projections", [PROJECTIONS, ("w1", "w2", "w3")])
def test_vllm_40885_the_expert_comes_before_its_projection(
    projections: tuple[str, ...],
) -> None:
    wanted = canonical(projections)

    assert _seen(_projection_first(wanted)) == wanted
    assert _kinds(_projection_first(wanted)) == {"projection-first"}


def test_projection_first_under_the_names_of_compressed_tensors() -> None:
    stored = {f"{MODULE}.down_proj.3.weight_packed": Stored("U8", (ROWS, COLS // 2))}

    assert list(_seen(stored)) == [f"{MODULE}.3.down_proj.weight_packed"]


@pytest.mark.parametrize("columns_first", [True, False])
@pytest.mark.parametrize("separator", [".", "_"])
@pytest.mark.parametrize("scalar", [(), (1,), (EXPERTS,), (EXPERTS, 1)])
def test_fused_experts_are_taken_apart(
    columns_first: bool,
    separator: str,
    scalar: tuple[int, ...],
) -> None:
    stored = fused(columns_first=columns_first, separator=separator, scalar=scalar)

    assert _seen(stored) == canonical()
    assert _kinds(stored) == {"fused"}


@pytest.mark.parametrize("separator", [".", "_"])
@pytest.mark.parametrize("columns_first", [True, False])
def test_fused_experts_under_the_name_of_compressed_tensors_are_taken_apart(
    separator: str, columns_first: bool
) -> None:
    stored = fused(columns_first=columns_first, separator=separator, scalar=())
    for projection in ("gate_up_proj", "down_proj"):
        name = f"{MODULE}.{projection}"
        weight = stored.pop(name if separator == "_" else f"{name}.weight")
        stored[f"{name}{separator}weight_packed"] = weight

    assert _seen(stored) == canonical()
    assert _kinds(stored) == {"fused"}


@pytest.mark.parametrize("scale", ["U8", "F8_E8M0"])
@pytest.mark.parametrize("weight", ["", "_weight", ".weight", "_weight_packed"])
def test_fused_mxfp4_experts_need_nothing(weight: str, scale: str) -> None:
    separator = weight[:1] or "_"
    stored = {}
    for projection, rows, cols in (("gate_up_proj", 128, 96), ("down_proj", 96, 64)):
        name = f"{MODULE}.{projection}"
        stored[f"{name}{weight}"] = Stored("U8", (EXPERTS, rows, cols // 2))
        scales = Stored(scale, (EXPERTS, rows, cols // 32))
        stored[f"{name}{separator}weight_scale"] = scales
        stored[f"{name}{separator}bias"] = Stored("BF16", (EXPERTS, rows))

    assert make_rewrite(stored, "GptOssForCausalLM") is None


def test_a_fused_weight_is_judged_with_its_block_scales_only() -> None:
    stored = fused(columns_first=True, separator="_", scalar=())
    weight, scale = f"{MODULE}.down_proj", f"{MODULE}.down_proj_weight_scale"
    alone = {"model.norm.weight": stored["model.norm.weight"], weight: stored[weight]}
    both = {**alone, scale: stored[scale]}

    assert told_apart("model.norm.weight", both).keys() == {"model.norm.weight"}
    assert told_apart(weight, alone) == {}
    assert told_apart(scale, both).keys() == {weight, scale}


def test_each_piece_says_where_it_lies() -> None:
    rewrite = make_rewrite(
        fused(columns_first=True, separator="_", scalar=(EXPERTS,)), None
    )

    assert rewrite is not None
    up = rewrite.pieces[f"{MODULE}.gate_up_proj"][3]
    assert up == Piece(
        f"{MODULE}.1.up_proj.weight",
        "U8",
        (ROWS, COLS // 2),
        expert=1,
        transpose=True,
        rows=(ROWS, 2 * ROWS),
    )
    scale = rewrite.pieces[f"{MODULE}.gate_up_proj_weight_scale_2"][3]
    assert scale == Piece(f"{MODULE}.1.up_proj.weight_scale_2", "F32", (), expert=1)


def test_a_square_weight_is_told_by_its_block_scales() -> None:
    # Packed, it has as many rows as columns: only the scales differ.
    for shape, transposed in (((2, 64, 8), False), ((2, 8, 64), True)):
        stored = {
            f"{MODULE}.down_proj.weight": Stored("U8", (2, 64, 64)),
            f"{MODULE}.down_proj.weight_scale": Stored("F8_E4M3", shape),
        }
        rewrite = make_rewrite(stored, None)

        assert rewrite is not None
        (piece, _) = rewrite.pieces[f"{MODULE}.down_proj.weight"]
        assert piece.transpose is transposed


def test_llama4_that_loads_its_fused_experts_itself_is_left_alone() -> None:
    stored = fused(columns_first=True, separator="_", scalar=())

    assert make_rewrite(stored, "Llama4ForConditionalGeneration") is None


def test_the_state_of_quantizers_becomes_an_export() -> None:
    stored = compressed_state()
    rewrite = make_rewrite(stored, "Qwen3MoeForCausalLM")

    assert rewrite is not None
    assert _seen(stored) == canonical()
    assert _kinds(stored) == {"quantizer-state"}
    (piece,) = rewrite.pieces[f"{MODULE}.0.gate_proj.input_quantizer._amax"]
    assert piece.divisor == 6 * 448
    assert rewrite.pieces[f"{MODULE}.0.gate_proj.weight_quantizer._amax"] == ()


def test_the_range_of_a_kv_cache_becomes_its_scale() -> None:
    # nvidia-modelopt 0.47.0, quant_utils.py, `_KV_CACHE_REPLACEMENTS`, and
    # unified_export_hf.py, `kv_cache_max_bound = 448`, for FP8 and NVFP4 alike.
    stored = compressed_state() | {
        "model.layers.0.self_attn.k_bmm_quantizer._amax": Stored("F32", ()),
        "model.layers.0.self_attn.v_bmm_quantizer._amax": Stored("BF16", (1,)),
    }

    rewrite = make_rewrite(stored, None)

    assert rewrite is not None
    made = [
        rewrite.pieces[f"model.layers.0.self_attn.{which}_bmm_quantizer._amax"]
        for which in "kv"
    ]
    assert made == [
        (Piece(f"model.layers.0.self_attn.{name}", "F32", (), divisor=448),)
        for name in ("k_proj.k_scale", "v_proj.v_scale")
    ]


def test_a_packed_weight_beside_modelopts_scales_gets_its_name() -> None:
    wanted = linear("model.layers.0.mlp.down_proj")
    stored = dict(wanted)
    stored["model.layers.0.mlp.down_proj.weight_packed"] = stored.pop(
        "model.layers.0.mlp.down_proj.weight"
    )

    assert _seen(stored) == wanted
    assert _kinds(stored) == {"packed-name"}


def test_kinds_are_combined() -> None:
    stored = _projection_first(compressed_state())

    assert _seen(stored) == canonical()
    assert _kinds(stored) == {"projection-first", "quantizer-state"}
