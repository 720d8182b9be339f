"""Foreign names: what a loader should see, as the adapter and ``repair`` make it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from nvfp4_layouts import types as layouts
from nvfp4_layouts.rewrite import make_rewrite

from checkpoint.builders import (
    MOE_PARAMETERS,
    NVFP4_CONFIG,
    Stored,
    Tensors,
    modelopt_moe,
    without,
    write_checkpoint,
)
from checkpoint.foreign_names import (
    fused_moe,
    named_packed,
    packed_names,
    projection_first,
    state_dict,
    with_experts_apart,
)
from checkpoint.test_real_exports import HEADERS
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.finding import Severity

EXPERTS = "model.layers.0.mlp.experts"


def layout_of(
    folder: Path,
    tensors: Tensors,
    config: Mapping[str, object] | None = None,
    shards: int = 1,
) -> Layout:
    write_checkpoint(
        folder, tensors, quantization=NVFP4_CONFIG, config=config, shards=shards
    )
    return read_layout(read_checkpoint(str(folder)))


def kinds(tensors: Tensors, architecture: str) -> tuple[str, ...] | None:
    """Return what the adapter would do; None: refuse."""
    stored = {name: layouts.Stored(*kind) for name, kind in tensors.items()}
    try:
        rewrite = make_rewrite(stored, architecture)
    except layouts.RewriteError:
        return None
    return tuple(sorted(rewrite.kinds)) if rewrite is not None else ()


def header(name: str) -> dict[str, Stored]:
    entries = json.loads((HEADERS / name / "model.header.json").read_bytes())
    entries.pop("__metadata__", None)
    return {
        tensor: (entry["dtype"], tuple(entry["shape"]))
        for tensor, entry in entries.items()
    }


MOE = modelopt_moe()
BOTH = {**projection_first(MOE), **{n: t for n, t in MOE.items() if ".0." in n}}
HALF = {
    **without(MOE, f"{EXPERTS}.1.down_proj.weight_scale"),
    f"{EXPERTS}.1.down_proj.weight": ("U8", (96, 32)),
    f"{EXPERTS}.1.down_proj.weight_scale": ("F8_E4M3", (96, 2)),
    f"{EXPERTS}.1.down_proj.weight_quantizer._double_scale": ("F32", ()),
}
CASES = {
    "A": (MOE, "modelopt-per-expert"),
    "B": (projection_first(MOE), "modelopt-projection-first"),
    "B-seed": (packed_names(projection_first(MOE)), "modelopt-projection-first"),
    "B-one": (projection_first(MOE, only="down_proj"), "modelopt-projection-first"),
    "C2": (state_dict(MOE), "modelopt-state-dict"),
    "C2-B": (projection_first(state_dict(MOE)), "modelopt-state-dict"),
    "D1": (fused_moe(transposed=True), "modelopt-fused"),
    "D1-dots": (fused_moe(transposed=True, separator="."), "modelopt-fused"),
    "D2": (fused_moe(transposed=False), "modelopt-fused"),
    "D2-dots": (fused_moe(transposed=False, separator="."), "modelopt-fused"),
    "D1-packed": (named_packed(fused_moe(transposed=True)), "modelopt-fused"),
    "D2-packed": (
        named_packed(fused_moe(transposed=False, separator=".")),
        "modelopt-fused",
    ),
    "packed-name": (packed_names(MOE), "modelopt-per-expert"),
    **{
        folder.name: (header(folder.name), None)
        for folder in sorted(HEADERS.iterdir())
        if folder.is_dir()
    },
}
REFUSED: dict[str, tuple[Tensors, str]] = {
    "C": (HALF, "modelopt-compressed-export"),
    "leak": (
        {**MOE, f"{EXPERTS}.1.down_proj.weight_quantizer._double_scale": ("F32", ())},
        "unknown",
    ),
    "C2-one-short": (
        without(state_dict(MOE), f"{EXPERTS}.1.down_proj.weight_quantizer._scale"),
        "unknown",
    ),
    "twice": (
        {**MOE, f"{EXPERTS}.down_proj.1.input_scale": ("F32", ())},
        "modelopt-projection-first",
    ),
    "twice-fused": ({**MOE, **fused_moe(transposed=False)}, "modelopt-fused"),
    "D-bias": (
        {
            **fused_moe(transposed=True),
            f"{EXPERTS}.down_proj_bias": ("BF16", (3, 96)),
        },
        "modelopt-fused",
    ),
    "quantizers": (
        {**MOE, f"{EXPERTS}.1.down_proj.input_quantizer.0._amax": ("F32", ())},
        "unknown",
    ),
    "quantizers-fused": (
        {**MOE, f"{EXPERTS}.up_proj_weight_quantizers.0._amax": ("F32", ())},
        "unknown",
    ),
    "D-other-count": (
        {
            **fused_moe(transposed=False),
            f"{EXPERTS}.down_proj": ("U8", (2, 96, 24)),
            f"{EXPERTS}.down_proj_weight_scale": ("F8_E4M3", (2, 96, 3)),
        },
        "modelopt-fused",
    ),
    "D-empty": (
        {
            **fused_moe(transposed=False),
            f"{EXPERTS}.down_proj": ("U8", (60_000_000, 0, 0)),
            f"{EXPERTS}.down_proj_weight_scale": ("F8_E4M3", (60_000_000, 0, 0)),
        },
        "modelopt-fused",
    ),
    "D-empty-dots": (
        {
            f"{EXPERTS}.down_proj.weight": ("U8", (60_000_000, 0, 0)),
            f"{EXPERTS}.down_proj.weight_scale": ("F8_E4M3", (60_000_000, 0, 0)),
        },
        "unknown",
    ),
    "D-no-scale": (
        without(fused_moe(transposed=True), "gate_up_proj_weight_scale"),
        "modelopt-fused",
    ),
}


@pytest.mark.parametrize(("tensors", "layout_id"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("shards", [1, 3])
def test_says_what_the_adapter_and_repair_would_do(
    tmp_path: Path, tensors: Tensors, layout_id: str | None, shards: int
) -> None:
    layout = layout_of(tmp_path, tensors, shards=shards)

    # Two of the real headers are of exports that are refused.
    assert layout.rewrites == (kinds(tensors, "Qwen3MoeForCausalLM") or ())
    assert layout_id in (None, layout.layout)


@pytest.mark.parametrize(("tensors", "layout_id"), REFUSED.values(), ids=REFUSED)
def test_refuses_what_the_adapter_and_repair_would_refuse(
    tmp_path: Path, tensors: Tensors, layout_id: str
) -> None:
    layout = layout_of(tmp_path, tensors)

    assert kinds(tensors, "Qwen3MoeForCausalLM") is None
    assert layout.rewrites == ()
    assert not layout.servable
    assert layout.layout == layout_id


@pytest.mark.parametrize("name", [n for n in CASES if n[0] in "BCDp"])
def test_sees_the_same_model_under_foreign_names(tmp_path: Path, name: str) -> None:
    usual = layout_of(tmp_path / "usual", MOE)

    foreign = layout_of(tmp_path / "foreign", CASES[name][0])

    assert foreign.schemes == usual.schemes
    assert foreign.parameters == usual.parameters == MOE_PARAMETERS
    assert foreign.dequantized_bytes == usual.dequantized_bytes
    assert foreign.servable
    assert {f.severity for f in foreign.findings} == {Severity.INFO}
    assert [f.id for f in foreign.findings] == list(foreign.rewrites)
    assert "nvfp4-serve repair" in foreign.findings[0].fix


@pytest.mark.parametrize("name", ["B", "B-seed", "C2", "D1", "D2-dots"])
def test_counts_the_bytes_that_are_stored(tmp_path: Path, name: str) -> None:
    tensors = CASES[name][0]

    layout = layout_of(tmp_path, tensors)

    size = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    first = next(tmp_path.glob("*.safetensors")).read_bytes()
    assert layout.weight_bytes == size - 8 - int.from_bytes(first[:8], "little")


@pytest.mark.parametrize(
    ("tensors", "missing", "finding"),
    [
        pytest.param(
            projection_first(MOE),
            f"{EXPERTS}.down_proj.1.input_scale",
            "missing-input-scale",
            id="B-input",
        ),
        pytest.param(
            projection_first(MOE),
            f"{EXPERTS}.down_proj.1.weight_scale_2",
            "missing-global-scale",
            id="B-global",
        ),
        pytest.param(
            projection_first(MOE),
            f"{EXPERTS}.down_proj.1.weight_scale",
            "missing-block-scale",
            id="B-block",
        ),
        pytest.param(
            state_dict(MOE),
            f"{EXPERTS}.1.down_proj.input_quantizer._amax",
            "missing-input-scale",
            id="C2-input",
        ),
        pytest.param(
            fused_moe(transposed=True),
            f"{EXPERTS}.down_proj_input_scale",
            "missing-input-scale",
            id="D-input",
        ),
        pytest.param(
            fused_moe(transposed=True),
            f"{EXPERTS}.down_proj_weight_scale_2",
            "missing-global-scale",
            id="D-global",
        ),
    ],
)
def test_misses_a_scale_under_a_foreign_name(
    tmp_path: Path, tensors: Tensors, missing: str, finding: str
) -> None:
    assert missing in tensors

    layout = layout_of(tmp_path, without(tensors, missing))

    assert [f.id for f in layout.findings if f.severity is Severity.ERROR] == [finding]
    assert not layout.servable


def test_takes_two_orders_of_names_that_do_not_meet(tmp_path: Path) -> None:
    one_shard = with_experts_apart(MOE, 1, projection_first)

    layout = layout_of(tmp_path, one_shard)

    assert layout.rewrites == kinds(one_shard, "Qwen3MoeForCausalLM")
    assert layout.rewrites == ("projection-first",)
    assert layout.parameters == MOE_PARAMETERS


def test_names_tensors_that_are_stored_in_two_layouts(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, REFUSED["twice"][0])

    assert [f.id for f in layout.findings] == ["stored-twice"]
    assert f"{EXPERTS}.1.down_proj.input_scale" in layout.findings[0].message


def test_refuses_the_state_of_quantizers_that_no_rewrite_knows(tmp_path: Path) -> None:
    left = f"{EXPERTS}.gate_up_proj_weight_quantizers.0._amax"

    layout = layout_of(tmp_path, {**MOE, left: ("F32", ())})

    assert layout.findings[0].id == "leaked-quantizer-state"
    assert not layout.servable


def test_names_the_versions_that_destroy_and_that_repair(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, HALF)

    assert [f.id for f in layout.findings] == ["destroyed-block-scales"]
    assert "up to 0.45" in layout.findings[0].message
    assert "0.46 or newer" in layout.findings[0].fix
