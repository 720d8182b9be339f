"""What a layout is recognised as, and what is found in it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from checkpoint.builders import (
    COMPRESSED_CONFIG,
    MOE_PARAMETERS,
    NVFP4_CONFIG,
    Tensors,
    compressed_linear,
    compressed_moe,
    modelopt_linear,
    modelopt_moe,
    plain_moe,
    without,
)
from checkpoint.judged import layout_of
from nvfp4_serve.checkpoint import layout_json
from nvfp4_serve.checkpoint.types import Producer
from nvfp4_serve.finding import Severity

EXPERT = "model.layers.0.mlp.experts.1.down_proj"
W4A16_CONFIG = {**NVFP4_CONFIG, "quant_algo": "W4A16_NVFP4", "config_groups": None}


def test_recognises_what_modelopt_exports(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, modelopt_moe())

    assert layout.layout == "modelopt-per-expert"
    assert layout.schemes == {
        "attention": "NVFP4",
        "routed_experts": "NVFP4",
        "router": "BF16",
        "lm_head": "BF16",
        "embeddings": "BF16",
    }
    assert layout.producer == Producer("modelopt", "0.47.0")
    assert layout.architecture == "Qwen3MoeForCausalLM"
    assert layout.findings == ()
    assert layout.servable


def test_counts_packed_values_one_by_one_and_scales_not_at_all(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, modelopt_moe())

    assert layout.parameters == MOE_PARAMETERS
    assert layout.dequantized_bytes == 2 * MOE_PARAMETERS


def test_gives_the_exact_bytes_of_all_tensors(tmp_path: Path) -> None:
    tensors = modelopt_linear("model.layers.0.mlp.up_proj", 64, 256)

    layout = layout_of(tmp_path, tensors)

    # 4.5 bits a weight, and two scalars of four bytes.
    assert layout.weight_bytes == 64 * 256 * 4.5 / 8 + 4 + 4


@pytest.mark.parametrize(
    ("tensors", "quantization", "expected"),
    [
        pytest.param(compressed_moe(), COMPRESSED_CONFIG, "compressed-tensors", id="E"),
        pytest.param(plain_moe(), None, "unquantized", id="bf16"),
        pytest.param(
            modelopt_linear("model.layers.0.mlp.up_proj", 64, 96),
            NVFP4_CONFIG,
            "modelopt-per-expert",
            id="dense",
        ),
        pytest.param(
            {
                "model.layers.0.mlp.experts.gate_up_proj_blocks": (
                    "U8",
                    (4, 64, 3, 16),
                ),
                "model.layers.0.mlp.experts.gate_up_proj_scales": ("U8", (4, 64, 3)),
                "model.layers.0.mlp.experts.gate_up_proj_bias": ("BF16", (4, 64)),
            },
            {"quant_method": "mxfp4"},
            "mxfp4",
            id="gpt-oss",
        ),
        pytest.param(
            {
                "layers.0.ffn.experts.0.w1.weight": ("I8", (64, 48)),
                "layers.0.ffn.experts.0.w1.scale": ("F8_E8M0", (64, 3)),
            },
            {"quant_method": "fp8"},
            "mxfp4",
            id="deepseek-v4-native",
        ),
        pytest.param(
            {
                "model.layers.0.mlp.up_proj.weight": ("F8_E4M3", (256, 256)),
                "model.layers.0.mlp.up_proj.weight_scale_inv": ("F32", (2, 2)),
            },
            {"quant_method": "fp8"},
            "fp8",
            id="fp8-block",
        ),
    ],
)
def test_recognises_the_other_layouts(
    tmp_path: Path,
    tensors: Tensors,
    quantization: Mapping[str, object] | None,
    expected: str,
) -> None:
    layout = layout_of(tmp_path, tensors, quantization)

    assert layout.layout == expected
    assert layout.findings == ()


def test_counts_the_same_parameters_in_every_layout(tmp_path: Path) -> None:
    modelopt = layout_of(tmp_path / "a", modelopt_moe())
    compressed = layout_of(tmp_path / "e", compressed_moe(), COMPRESSED_CONFIG)
    plain = layout_of(tmp_path / "p", plain_moe(), None)

    assert modelopt.parameters == compressed.parameters == plain.parameters
    assert plain.weight_bytes == modelopt.dequantized_bytes == 2 * MOE_PARAMETERS


@pytest.mark.parametrize(
    ("name", "shape", "label"),
    [
        ("model.visual.blocks.0.attn.qkv.weight", (8, 8), "vision"),
        ("model.layers.1.mlp.up_proj.weight", (8, 8), "mtp"),
        ("mtp.fc.weight", (8, 8), "mtp"),
        ("model.layers.0.mlp.shared_expert.up_proj.weight", (8, 8), "shared_experts"),
        ("model.layers.0.mlp.shared_expert_gate.weight", (1, 8), "router"),
        ("model.layers.0.linear_attn.conv1d.weight", (8, 1, 4), "attention"),
        ("backbone.layers.0.mixer.q_proj.weight", (8, 8), "attention"),
        ("backbone.layers.0.mixer.in_proj.weight", (8, 8), "other"),
        ("layers.0.ffn.gate.weight", (8, 8), "router"),
        ("head.weight", (8, 8), "lm_head"),
        (
            "model.layers.0.block_sparse_moe.experts.3.w1.weight",
            (8, 8),
            "routed_experts",
        ),
    ],
)
def test_knows_the_class_of_a_module(
    tmp_path: Path, name: str, shape: tuple[int, ...], label: str
) -> None:
    layout = layout_of(tmp_path, {name: ("BF16", shape)}, None)

    assert layout.schemes == {label: "BF16"}


def test_joins_the_schemes_of_a_mixed_class(tmp_path: Path) -> None:
    tensors = {
        **modelopt_linear("model.layers.0.self_attn.q_proj", 64, 96),
        "model.layers.0.self_attn.k_proj.weight": ("F8_E4M3", (64, 96)),
        "model.layers.0.self_attn.k_proj.weight_scale": ("F32", ()),
    }

    layout = layout_of(
        tmp_path, tensors, {**NVFP4_CONFIG, "quant_algo": "MIXED_PRECISION"}
    )

    assert layout.schemes["attention"] == "FP8+NVFP4"


def test_tells_weights_only_from_weights_and_activations(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, without(modelopt_moe(), "input_scale"), W4A16_CONFIG)

    assert layout.schemes["routed_experts"] == "W4A16_NVFP4"
    assert layout.findings == ()


def test_names_the_kv_cache_that_the_config_asks_for(tmp_path: Path) -> None:
    config = {
        **NVFP4_CONFIG,
        "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False},
    }

    layout = layout_of(tmp_path, modelopt_moe(), config)

    assert layout.schemes["kv_cache"] == "FP8"


DOUBLE = {f"{EXPERT}.weight_quantizer._double_scale": ("F32", ())}
# 48 columns have 3 block scales; half of that is no whole number, so use a wider one.
HALF = {
    **without(modelopt_moe(), *(f"{EXPERT}.{s}" for s in ("weight", "weight_scale"))),
    f"{EXPERT}.weight": ("U8", (96, 32)),
    f"{EXPERT}.weight_scale": ("F8_E4M3", (96, 2)),
}
GPTQ = {
    "model.layers.0.mlp.up_proj.qweight": ("I32", (12, 64)),
    "model.layers.0.mlp.up_proj.scales": ("F16", (1, 64)),
}


@pytest.mark.parametrize(
    ("tensors", "layout_id", "finding", "says"),
    [
        pytest.param(
            HALF,
            "modelopt-compressed-export",
            "destroyed-block-scales",
            "vllm#38980",
            id="C",
        ),
        pytest.param(
            {**modelopt_moe(), **DOUBLE},
            "unknown",
            "leaked-quantizer-state",
            "_double_scale",
            id="leak",
        ),
        pytest.param(
            {**modelopt_moe(), **GPTQ},
            "unknown",
            "unknown-layout",
            "qweight I32 [12, 64]",
            id="gptq",
        ),
        pytest.param(
            {
                **modelopt_moe(),
                **compressed_linear("model.layers.0.mlp.up_proj", 64, 96),
            },
            "unknown",
            "unknown-layout",
            "inverse",
            id="two",
        ),
    ],
)
def test_refuses_a_layout_that_it_cannot_serve_and_says_what_it_saw(
    tmp_path: Path, tensors: Tensors, layout_id: str, finding: str, says: str
) -> None:
    layout = layout_of(tmp_path, tensors)

    first = layout.findings[0]
    assert layout.layout == layout_id
    assert not layout.servable
    assert (first.id, first.severity) == (finding, Severity.ERROR)
    assert says in first.message


def test_prints_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, without(modelopt_moe(), f"{EXPERT}.input_scale"))

    printed = layout_json(layout)

    assert list(printed) == [
        "model",
        "architecture",
        "producer",
        "layout",
        "rewrites",
        "overlay",
        "schemes",
        "weight_bytes",
        "parameters",
        "findings",
        "servable",
        "experts",
        "draft",
    ]
    assert printed["producer"] == {"name": "modelopt", "version": "0.47.0"}
    finding = layout.findings[0]
    assert printed["findings"] == [
        {
            "id": "missing-input-scale",
            "severity": "error",
            "message": finding.message,
            "fix": finding.fix,
        }
    ]
    assert printed["servable"] is False


def test_tells_mixed_formats_by_the_tensors_and_not_by_the_config(
    tmp_path: Path,
) -> None:
    fp8: Tensors = {
        "model.layers.0.mlp.shared_expert.up_proj.weight": ("F8_E4M3", (48, 96)),
        "model.layers.0.mlp.shared_expert.up_proj.weight_scale": ("F32", ()),
    }
    config = {**NVFP4_CONFIG, "quant_algo": "MIXED_PRECISION"}

    mixed = layout_of(tmp_path / "mixed", {**modelopt_moe(), **fp8}, config)
    only_said = layout_of(tmp_path / "said", modelopt_moe(), config)

    assert mixed.layout == "modelopt-mixed"
    assert only_said.layout == "modelopt-per-expert"
