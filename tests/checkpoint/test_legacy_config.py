"""What vLLM takes of hf_quant_config.json, alone and beside config.json."""

import json
from pathlib import Path

import pytest

from checkpoint.builders import modelopt_linear, modelopt_moe, write_checkpoint
from nvfp4_serve.checkpoint import read_checkpoint, read_layout

EXPERT = "model.layers.0.mlp.experts.1.down_proj"
MODELOPT = {"name": "modelopt", "version": "0.29.0"}
NVFP4: dict[str, object] = {
    "quant_algo": "nvfp4",
    "group_size": 16,
    "kv_cache_quant_algo": None,
    "exclude_modules": ["lm_head", "model.layers.0.mlp.gate"],
}
MIXED: dict[str, object] = {
    "quant_algo": "MIXED_PRECISION",
    "quantized_layers": {
        name.removesuffix(".weight"): {"quant_algo": "NVFP4"}
        for name in modelopt_moe()
        if name.endswith("_proj.weight")
    },
}


def found(folder: Path) -> list[str]:
    return [f.id for f in read_layout(read_checkpoint(str(folder))).findings]


@pytest.mark.parametrize(
    ("producer", "quantization", "expected"),
    [
        pytest.param(MODELOPT, NVFP4, [], id="right"),
        pytest.param({"name": "me"}, NVFP4, ["legacy-config-producer"], id="producer"),
        pytest.param(None, NVFP4, ["legacy-config-producer"], id="no-producer"),
        pytest.param(
            MODELOPT,
            {key: NVFP4[key] for key in ("quant_algo", "exclude_modules")},
            ["legacy-config-keys"],
            id="keys",
        ),
        pytest.param(MODELOPT, MIXED, ["legacy-config-algorithm"], id="mixed"),
    ],
)
def test_takes_of_a_legacy_config_alone_what_vllm_takes(
    tmp_path: Path,
    producer: dict[str, str] | None,
    quantization: dict[str, object],
    expected: list[str],
) -> None:
    write_checkpoint(tmp_path, modelopt_moe())
    said = {"producer": producer, "quantization": quantization}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(said))

    assert found(tmp_path) == expected


def test_takes_the_layers_of_a_mixed_config_from_the_legacy_one(
    tmp_path: Path,
) -> None:
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    tensors = modelopt_linear(EXPERT, 96, 48)
    write_checkpoint(tmp_path, tensors, quantization=mixed)

    alone = found(tmp_path)
    said = {"producer": MODELOPT, "quantization": MIXED}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(said))

    assert alone == ["mixed-without-layers"]
    assert found(tmp_path) == []
