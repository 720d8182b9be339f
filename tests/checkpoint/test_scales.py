"""Scales that are missing, of a wrong shape, at odds; parts that cannot be packed."""

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from checkpoint.builders import (
    NVFP4_CONFIG,
    Stored,
    Tensors,
    modelopt_linear,
    modelopt_moe,
    write_checkpoint,
)
from checkpoint.foreign_names import projection_first, state_dict
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.evidence import gather
from nvfp4_serve.checkpoint.header import parse_header
from nvfp4_serve.checkpoint.scales import input_widths
from nvfp4_serve.checkpoint.types import Layout

LAYER = "model.layers.0"
EXPERTS = f"{LAYER}.mlp.experts"
MOE = modelopt_moe()
SCALES = ("weight_scale_2", "_double_scale")


def layout_of(
    folder: Path, tensors: Tensors, config: Mapping[str, object] | None = None
) -> Layout:
    write_checkpoint(folder, tensors, quantization=NVFP4_CONFIG, config=config)
    return read_layout(read_checkpoint(str(folder)))


def found(layout: Layout) -> list[tuple[str, str]]:
    return [(finding.id, finding.severity.value) for finding in layout.findings]


def write_scales(folder: Path, values: Mapping[str, float]) -> None:
    """Give every global scale 1.0, and those that are named another value."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = parse_header(data[8 : 8 + length], label="", scratch=bytearray())
    with path.open("r+b") as file:
        for name, entry in header.items():
            if name.endswith(SCALES):
                file.seek(8 + length + entry.data_offsets[0])
                file.write(struct.pack("<f", values.get(name, 1.0)))


@pytest.mark.parametrize(
    ("tensors", "name"),
    [
        pytest.param(MOE, f"{EXPERTS}.1.up_proj.weight_scale_2", id="A"),
        pytest.param(
            projection_first(MOE), f"{EXPERTS}.up_proj.1.weight_scale_2", id="B"
        ),
        pytest.param(
            state_dict(MOE),
            f"{EXPERTS}.1.up_proj.weight_quantizer._double_scale",
            id="C2",
        ),
        pytest.param(MOE, f"{LAYER}.self_attn.k_proj.weight_scale_2", id="attention"),
    ],
)
def test_compares_the_global_scales_of_what_the_engine_puts_together(
    tmp_path: Path, tensors: Tensors, name: str
) -> None:
    write_checkpoint(tmp_path, tensors, quantization=NVFP4_CONFIG)

    write_scales(tmp_path, {})
    same = read_layout(read_checkpoint(str(tmp_path)))
    write_scales(tmp_path, {name: 1.25})
    other = read_layout(read_checkpoint(str(tmp_path)))

    assert "global-scales-differ" not in [f.id for f in same.findings]
    assert other.findings[0].id == "global-scales-differ"
    assert name in other.findings[0].message
    assert "1 of 4 pairs" in other.findings[0].message
    assert "1.25" in other.findings[0].message
    assert other.servable


def test_says_that_the_values_of_a_remote_checkpoint_are_not_compared(
    tmp_path: Path,
) -> None:
    write_checkpoint(tmp_path, MOE, quantization=NVFP4_CONFIG)
    checkpoint = read_checkpoint(str(tmp_path))

    layout = read_layout(replace(checkpoint, scale_pairs=None))

    assert found(layout) == [("global-scales-not-checked", "info")]
    assert "not checkable from headers" in layout.findings[0].message


def test_reads_the_scales_of_few_modules_however_many_there_are(tmp_path: Path) -> None:
    many = modelopt_moe(experts=200)
    write_checkpoint(tmp_path, many, quantization=NVFP4_CONFIG)

    checkpoint = read_checkpoint(str(tmp_path))

    assert checkpoint.scale_pairs is not None
    assert len(checkpoint.scale_pairs) == 64


@pytest.mark.parametrize("suffix", ["weight_scale_2", "input_scale"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((1,), [], id="one"),
        pytest.param((3,), [("scale-shape", "error")], id="several"),
    ],
)
def test_takes_a_scale_of_one_value_in_both_shapes_that_vllm_loads(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], expected: list[object]
) -> None:
    name = f"{EXPERTS}.1.down_proj.{suffix}"

    layout = layout_of(tmp_path, {**MOE, name: ("F32", shape)})

    assert found(layout) == expected


def test_says_that_a_width_is_no_multiple_of_16(tmp_path: Path) -> None:
    module = f"{LAYER}.mlp.shared_expert.down_proj"
    ragged: dict[str, Stored] = {
        **modelopt_linear(module, 96, 16),
        f"{module}.weight": ("U8", (96, 12)),
        f"{module}.weight_scale": ("F8_E4M3", (96, 2)),
    }

    layout = layout_of(tmp_path, {**MOE, **ragged})

    assert ("width-not-of-16", "error") in found(layout)
    message = next(f.message for f in layout.findings if f.id == "width-not-of-16")
    assert module in message
    assert "24 input features" in message


def test_gives_the_input_features_of_every_packed_weight(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, projection_first(MOE), quantization=NVFP4_CONFIG)

    widths = input_widths(gather(read_checkpoint(str(tmp_path))))

    assert widths[f"{EXPERTS}.*.down_proj"] == 48
    assert widths[f"{LAYER}.self_attn.o_proj"] == 128
    assert "lm_head" not in widths


ROUTER = modelopt_linear(f"{LAYER}.mlp.gate", 16, 96)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        pytest.param("Qwen3MoeForCausalLM", [], id="takes-it"),
        pytest.param(
            "DeepseekV3ForCausalLM", [("quantized-router", "error")], id="does-not"
        ),
        pytest.param("NobodyKnows", [("quantized-router", "warning")], id="unknown"),
    ],
)
def test_knows_where_the_router_may_be_packed(
    tmp_path: Path, architecture: str, expected: list[object]
) -> None:
    rest = {n: t for n, t in MOE.items() if not n.startswith(f"{LAYER}.mlp.gate.")}

    layout = layout_of(tmp_path, {**rest, **ROUTER}, {"architectures": [architecture]})

    assert [each for each in found(layout) if "router" in each[0]] == expected


def test_takes_a_packed_head_and_refuses_packed_embeddings(tmp_path: Path) -> None:
    rest = {
        n: t for n, t in MOE.items() if not n.startswith(("lm_head", "model.embed"))
    }
    config = {**NVFP4_CONFIG, "ignore": [f"{LAYER}.mlp.gate"]}

    for name in ("lm_head", "model.embed_tokens"):
        tensors = {**rest, **modelopt_linear(name, 256, 96)}
        write_checkpoint(tmp_path / name, tensors, quantization=config)
    head = read_layout(read_checkpoint(str(tmp_path / "lm_head")))
    table = read_layout(read_checkpoint(str(tmp_path / "model.embed_tokens")))

    assert head.schemes["lm_head"] == "NVFP4"
    assert found(head) == []
    assert found(table) == [("quantized-embeddings", "error")]


def test_refuses_plain_fused_experts_beside_packed_ones(tmp_path: Path) -> None:
    left: dict[str, Stored] = {
        f"{EXPERTS}.gate_up_proj": ("BF16", (3, 96, 96)),
        f"{EXPERTS}.down_proj": ("BF16", (3, 96, 48)),
    }

    layout = layout_of(tmp_path, {**MOE, **left})

    assert ("leftover-experts", "error") in found(layout)
    assert layout.overlay is None


@pytest.mark.parametrize(
    ("suffix", "layout_id"),
    [("pre_quant_scale", "modelopt-awq"), ("svdquant_lora_a", "modelopt-svdquant")],
)
def test_refuses_awq_and_svdquant(tmp_path: Path, suffix: str, layout_id: str) -> None:
    name = f"{EXPERTS}.1.down_proj.{suffix}"

    layout = layout_of(tmp_path, {**MOE, name: ("BF16", (48,))})

    assert layout.layout == layout_id
    assert found(layout) == [("pre-quant-scale", "error")]
    assert "vllm#45333" in layout.findings[0].message
    assert "plain NVFP4" in layout.findings[0].fix
