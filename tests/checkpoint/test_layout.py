"""What a layout is recognised as, and what is found in it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from checkpoint.builders import (
    MOE_PARAMETERS,
    NVFP4_CONFIG,
    Stored,
    Tensors,
    compressed_linear,
    modelopt_linear,
    modelopt_moe,
    write_checkpoint,
)
from nvfp4_serve.checkpoint import layout_json, read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Attention, Layout, Producer, Severity

EXPERT = "model.layers.0.mlp.experts.1.down_proj"
W4A16_CONFIG = {**NVFP4_CONFIG, "quant_algo": "W4A16_NVFP4", "config_groups": None}
COMPRESSED_CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "version": "0.20.0",
    "ignore": ["lm_head", "re:.*mlp.gate$"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "float", "group_size": 16},
            "input_activations": {"num_bits": 4, "type": "float", "group_size": 16},
            "format": "nvfp4-pack-quantized",
        }
    },
}


def layout_of(
    folder: Path,
    tensors: Tensors,
    quantization: Mapping[str, object] | None = NVFP4_CONFIG,
    config: Mapping[str, object] | None = None,
) -> Layout:
    write_checkpoint(folder, tensors, quantization=quantization, config=config)
    return read_layout(read_checkpoint(str(folder)))


def without(tensors: Tensors, *endings: str) -> dict[str, Stored]:
    return {name: t for name, t in tensors.items() if not name.endswith(endings)}


def compressed_moe() -> dict[str, Stored]:
    tensors = without(modelopt_moe(), "_proj.weight", "_scale", "_scale_2")
    for name, (dtype, shape) in modelopt_moe().items():
        if name.endswith("_proj.weight"):
            assert dtype == "U8"
            module = name.removesuffix(".weight")
            tensors |= compressed_linear(module, shape[0], shape[1] * 2)
    return tensors


def plain_moe() -> dict[str, Stored]:
    tensors = without(modelopt_moe(), "_scale", "_scale_2")
    return {
        name: ("BF16", (shape[0], shape[1] * 2)) if dtype == "U8" else (dtype, shape)
        for name, (dtype, shape) in tensors.items()
    }


def found(layout: Layout) -> list[tuple[str, Severity]]:
    return [(finding.id, finding.severity) for finding in layout.findings]


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


ALGO = "quant_algo"


@pytest.mark.parametrize(
    ("tensors", "quantization", "finding", "severity"),
    [
        pytest.param(
            plain_moe(), NVFP4_CONFIG, "claimed-nvfp4-not-packed", "error", id="G"
        ),
        pytest.param(
            compressed_moe(), None, "quantized-not-claimed", "error", id="no-config"
        ),
        pytest.param(
            without(modelopt_moe(), f"{EXPERT}.weight_scale"),
            NVFP4_CONFIG,
            "missing-block-scale",
            "error",
            id="no-block-scale",
        ),
        pytest.param(
            without(modelopt_moe(), f"{EXPERT}.weight_scale_2"),
            NVFP4_CONFIG,
            "missing-global-scale",
            "error",
            id="no-global-scale",
        ),
        pytest.param(
            without(modelopt_moe(), f"{EXPERT}.input_scale"),
            NVFP4_CONFIG,
            "missing-input-scale",
            "error",
            id="one-input-scale",
        ),
        pytest.param(
            without(modelopt_moe(), "input_scale"),
            NVFP4_CONFIG,
            "missing-input-scale",
            "error",
            id="no-input-scale",
        ),
        pytest.param(
            without(compressed_moe(), "input_global_scale"),
            COMPRESSED_CONFIG,
            "missing-input-scale",
            "error",
            id="E-no-input-scale",
        ),
        pytest.param(
            without(compressed_moe(), f"{EXPERT}.weight_global_scale"),
            COMPRESSED_CONFIG,
            "missing-global-scale",
            "error",
            id="E-no-global",
        ),
        pytest.param(
            modelopt_moe(),
            {**NVFP4_CONFIG, "group_size": 32},
            "group-size",
            "error",
            id="group",
        ),
        pytest.param(
            modelopt_moe(),
            {**NVFP4_CONFIG, ALGO: "NVFP4_AWQ"},
            "unsupported-algorithm",
            "error",
            id="awq",
        ),
        pytest.param(
            modelopt_moe(),
            {**NVFP4_CONFIG, ALGO: None},
            "missing-algorithm",
            "error",
            id="no-algo",
        ),
        pytest.param(
            {**modelopt_moe(), f"{EXPERT}.pre_quant_scale": ("BF16", (48,))},
            NVFP4_CONFIG,
            "pre-quant-scale",
            "error",
            id="F",
        ),
        pytest.param(
            modelopt_moe(),
            {
                **NVFP4_CONFIG,
                "ignore": ["lm_head", "*.self_attn.*", "model.layers.0.mlp.gate"],
            },
            "excluded-but-quantized",
            "error",
            id="excluded-glob",
        ),
        pytest.param(
            modelopt_moe(),
            {**NVFP4_CONFIG, "ignore": ["lm_head", "model.layers.0.self_attn.q_proj"]},
            "excluded-but-quantized",
            "error",
            id="excluded-name",
        ),
        pytest.param(
            compressed_moe(),
            {**COMPRESSED_CONFIG, "ignore": ["re:.*self_attn.*"]},
            "excluded-but-quantized",
            "error",
            id="excluded-regex",
        ),
        pytest.param(
            {
                **modelopt_moe(),
                "model.layers.0.mlp.shared_expert.up_proj.weight": ("BF16", (48, 96)),
            },
            NVFP4_CONFIG,
            "plain-but-not-excluded",
            "error",
            id="not-excluded",
        ),
        pytest.param(
            {
                **modelopt_moe(),
                "model.layers.1.self_attn.q_proj.weight": ("BF16", (48, 96)),
            },
            NVFP4_CONFIG,
            "plain-but-not-excluded",
            "warning",
            id="mtp-not-excluded",
        ),
        pytest.param(
            modelopt_moe(),
            {**NVFP4_CONFIG, "kv_cache_quant_algo": "INT3"},
            "kv-cache-algorithm",
            "warning",
            id="kv",
        ),
        pytest.param(
            {**modelopt_moe(), "model.layers.0.self_attn.k_proj.k_scale": ("F32", ())},
            NVFP4_CONFIG,
            "unclaimed-kv-scales",
            "warning",
            id="kv-scales",
        ),
    ],
)
def test_holds_the_config_against_the_tensors(
    tmp_path: Path,
    tensors: Tensors,
    quantization: Mapping[str, object] | None,
    finding: str,
    severity: str,
) -> None:
    layout = layout_of(tmp_path, tensors, quantization)

    assert found(layout) == [(finding, Severity(severity))]
    assert layout.findings[0].fix
    assert layout.servable is (severity != "error")


def test_reads_the_claim_of_hf_quant_config_where_config_json_is_silent(
    tmp_path: Path,
) -> None:
    write_checkpoint(tmp_path, modelopt_moe())
    (tmp_path / "hf_quant_config.json").write_text(
        '{"producer": {"name": "modelopt", "version": "0.40.0"}, "quantization": '
        '{"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16,'
        ' "exclude_modules": ["lm_head"]}}'
    )

    layout = read_layout(read_checkpoint(str(tmp_path)))

    assert layout.producer == Producer("modelopt", "0.40.0")
    assert layout.schemes["kv_cache"] == "FP8"
    assert layout.findings == ()


def test_says_that_a_legacy_config_alone_cannot_name_w4a16(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, without(modelopt_moe(), "input_scale"))
    (tmp_path / "hf_quant_config.json").write_text(
        '{"producer": {"name": "modelopt"}, '
        '"quantization": {"quant_algo": "W4A16_NVFP4", "group_size": 16}}'
    )

    layout = read_layout(read_checkpoint(str(tmp_path)))

    assert found(layout) == [("legacy-config-algorithm", Severity.ERROR)]


def test_says_that_a_quantization_without_a_method_is_not_followed(
    tmp_path: Path,
) -> None:
    layout = layout_of(tmp_path, modelopt_moe(), {**NVFP4_CONFIG, "quant_method": None})

    assert found(layout) == [("missing-method", Severity.ERROR)]


def test_says_that_two_configs_disagree(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, modelopt_moe(), quantization=NVFP4_CONFIG)
    (tmp_path / "hf_quant_config.json").write_text(
        '{"quantization": {"quant_algo": "FP8"}}'
    )

    layout = read_layout(read_checkpoint(str(tmp_path)))

    assert found(layout) == [("configs-disagree", Severity.WARNING)]


def test_wonders_at_a_folder_that_is_nvfp4_by_name_only(tmp_path: Path) -> None:
    layout = layout_of(tmp_path / "My-NVFP4", plain_moe(), None)

    assert found(layout) == [("nvfp4-in-name-only", Severity.WARNING)]


def test_puts_the_worst_finding_first(tmp_path: Path) -> None:
    tensors = without(modelopt_moe(), f"{EXPERT}.weight_scale_2")

    layout = layout_of(
        tmp_path, tensors, {**NVFP4_CONFIG, "kv_cache_quant_algo": "INT3"}
    )

    assert [f.severity.value for f in layout.findings] == ["error", "warning"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, Attention(1, 2, 32), id="grouped"),
        pytest.param(
            {"num_key_value_heads": None}, Attention(1, 4, 32), id="multi-head"
        ),
        pytest.param({"head_dim": None}, Attention(1, 2, 24), id="head-from-hidden"),
        pytest.param({"kv_lora_rank": 512}, None, id="latent"),
        pytest.param({"num_hidden_layers": None}, None, id="no-layers"),
        pytest.param(
            {"layer_types": ["linear_attention", "full_attention"]},
            Attention(1, 2, 32),
            id="hybrid",
        ),
        pytest.param({"layer_types": ["never_seen"]}, None, id="unknown-kind"),
        pytest.param(
            {"layer_types": ["sliding_attention", "full_attention"]}, None, id="slides"
        ),
        pytest.param({"sliding_window": 128}, None, id="all-slide"),
        pytest.param(
            {"sliding_window": 128, "use_sliding_window": False},
            Attention(1, 2, 32),
            id="no-one-slides",
        ),
        pytest.param(
            {"num_hidden_layers": 5, "hybrid_override_pattern": "M*E-*"},
            Attention(2, 2, 32),
            id="nemotron-h",
        ),
        pytest.param(
            {"layers_block_type": ["mamba", "attention", "moe"]},
            Attention(1, 2, 32),
            id="nemotron-h-by-names",
        ),
        pytest.param(
            {"num_hidden_layers": 48, "full_attention_interval": 4},
            Attention(12, 2, 32),
            id="qwen3-next",
        ),
        pytest.param({"linear_num_key_heads": 16}, None, id="linear-not-counted"),
        pytest.param(
            {"num_hidden_layers": 32, "attn_layer_period": 8, "attn_layer_offset": 4},
            Attention(4, 2, 32),
            id="jamba",
        ),
        pytest.param({"attn_layer_period": 8}, None, id="jamba-without-offset"),
        pytest.param({"mamba_d_state": 64}, None, id="mamba"),
        pytest.param(
            {
                "text_config": {
                    "num_hidden_layers": 3,
                    "num_attention_heads": 8,
                    "head_dim": 16,
                }
            },
            Attention(3, 8, 16),
            id="nested",
        ),
    ],
)
def test_knows_what_the_kv_cache_depends_on(
    tmp_path: Path, config: dict[str, object], expected: Attention | None
) -> None:
    assert layout_of(tmp_path, modelopt_moe(), config=config).attention == expected


def test_knows_the_heads_of_latent_attention_too(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, modelopt_moe(), config={"kv_lora_rank": 512})

    assert layout.attention_heads == 4


def test_says_that_a_model_brings_its_own_code(tmp_path: Path) -> None:
    layout = layout_of(
        tmp_path, modelopt_moe(), config={"auto_map": {"AutoModel": "x.Y"}}
    )

    assert layout.needs_remote_code
    assert found(layout) == [("remote-code", Severity.WARNING)]
    assert "--trust-remote-code" in layout.findings[0].fix
    assert layout.max_position_embeddings == 512


def test_prints_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, without(modelopt_moe(), "input_scale"))

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
