"""The claims of the configs, held against the tensors."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from checkpoint.builders import (
    COMPRESSED_CONFIG,
    NVFP4_CONFIG,
    Tensors,
    compressed_moe,
    modelopt_moe,
    plain_moe,
    without,
    write_checkpoint,
)
from checkpoint.judged import found, layout_of
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Producer
from nvfp4_serve.finding import Severity

EXPERT = "model.layers.0.mlp.experts.1.down_proj"


ALGO = "quant_algo"
IGNORED = ("lm_head", "model.layers.0.mlp.gate")


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
            "warning",
            id="no-input-scale",
        ),
        pytest.param(
            without(compressed_moe(), "input_global_scale"),
            COMPRESSED_CONFIG,
            "missing-input-scale",
            "warning",
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
            {**NVFP4_CONFIG, "ignore": [*IGNORED, "model.layers.0.self_attn.q_proj"]},
            "excluded-but-quantized",
            "error",
            id="excluded-name",
        ),
        pytest.param(
            compressed_moe(),
            {**COMPRESSED_CONFIG, "ignore": ["re:.*self_attn.*", "re:.*gate$"]},
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
            "warning",
            id="not-excluded",
        ),
        pytest.param(
            {
                **modelopt_moe(),
                "model.layers.1.self_attn.q_proj.weight": ("BF16", (48, 96)),
            },
            NVFP4_CONFIG,
            "plain-but-not-excluded",
            "info",
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
        ' "exclude_modules": ["lm_head", "model.layers.0.mlp.gate"]}}'
    )

    layout = read_layout(read_checkpoint(str(tmp_path)))

    assert layout.producer == Producer("modelopt", "0.40.0")
    assert layout.schemes["kv_cache"] == "FP8"
    assert layout.findings == ()


def test_says_that_a_legacy_config_alone_cannot_name_w4a16(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, without(modelopt_moe(), "input_scale"))
    (tmp_path / "hf_quant_config.json").write_text(
        '{"producer": {"name": "modelopt"}, '
        '"quantization": {"quant_algo": "W4A16_NVFP4", "group_size": 16,'
        ' "exclude_modules": ["lm_head", "model.layers.0.mlp.gate"]}}'
    )

    layout = read_layout(read_checkpoint(str(tmp_path)))

    assert found(layout) == [("legacy-config-algorithm", Severity.WARNING)]
    assert layout.servable


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
