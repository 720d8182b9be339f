"""The small files: config.json, hf_quant_config.json, and repairs of them alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Overlay
from nvfp4_serve.repair import plan_repair
from nvfp4_serve.repair.config import new_config, new_legacy
from repair.foreign import (
    EXAMPLE,
    Tensor,
    projection_first,
    quantizer_state,
    read_tensors,
    write_checkpoint,
)
from repair.running import repaired

QUANTIZATION = {
    "quant_method": "modelopt",
    "quant_algo": "W4A16_NVFP4",
    "ignore": ["lm_head", "mtp.*"],
    "config_groups": {"group_0": {"targets": ("Linear",)}},
}
OVERLAY = Overlay(QUANTIZATION, ("`W4A16_NVFP4`: no module has an input scale.",))


def test_all_else_in_the_config_stays_as_it_was() -> None:
    old = {"a": 1.5e-06, "quantization_config": {"x": 1}, "z": "ü", "n": None}

    new = json.loads(new_config(json.dumps(old).encode(), OVERLAY))

    assert list(new) == list(old)
    assert new.pop("quantization_config") == json.loads(json.dumps(QUANTIZATION))
    assert new == {"a": 1.5e-06, "z": "ü", "n": None}


def test_a_config_speaks_of_its_quantization_once() -> None:
    old = {
        "compression_config": {"x": 1},
        "text_config": {"quantization_config": {"x": 1}, "hidden_size": 8},
    }

    new = json.loads(new_config(json.dumps(old).encode(), OVERLAY))

    assert "compression_config" not in new
    assert new["text_config"] == {"hidden_size": 8}
    assert new["quantization_config"]["quant_algo"] == "W4A16_NVFP4"


def test_a_legacy_config_that_contradicts_is_made_to_agree() -> None:
    old = {
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": None,
            "group_size": 16,
            "exclude_modules": ["lm_head"],
        },
    }

    data = new_legacy(json.dumps(old).encode(), OVERLAY)

    assert data is not None
    new = json.loads(data)
    assert new["producer"] == old["producer"]
    assert new["quantization"] == {
        "quant_algo": "W4A16_NVFP4",
        "kv_cache_quant_algo": None,
        "group_size": 16,
        "exclude_modules": ["lm_head", "mtp.*"],
    }
    assert new_legacy(data, OVERLAY) is data


def test_a_legacy_config_that_cannot_say_it_goes() -> None:
    overlay = replace(OVERLAY, quantization_config={"quant_method": "mxfp4"})

    assert new_legacy(b'{"quantization": {"quant_algo": "NVFP4"}}', overlay) is None


def test_a_repair_of_the_config_alone_copies_every_shard(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "src", read_tensors(EXAMPLE), shards=2)
    checkpoint = read_checkpoint(str(source))
    layout = replace(read_layout(checkpoint), overlay=OVERLAY)

    repair = plan_repair(checkpoint, layout)

    assert repair.shards == ()
    assert [f.name for f in repair.copies][:2] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert sorted(repair.texts) == ["config.json", "hf_quant_config.json"]


def test_a_state_dict_without_a_config_gets_one(tmp_path: Path) -> None:
    right = read_tensors(EXAMPLE)
    source = write_checkpoint(tmp_path / "src", quantizer_state(right))
    config = json.loads((source / "config.json").read_text())
    said = config.pop("quantization_config")
    (source / "config.json").write_text(json.dumps(config))
    (source / "hf_quant_config.json").unlink()

    record = repaired(source, tmp_path / "dst")

    new = json.loads((tmp_path / "dst" / "config.json").read_text())
    assert new["quantization_config"]["quant_algo"] == said["quant_algo"]
    assert record["config_changes"]
    assert read_tensors(tmp_path / "dst") == right


def said_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config["quantization_config"]  # type: ignore[no-any-return]


def legacy_of(folder: Path) -> dict[str, Any]:
    legacy: dict[str, Any] = json.loads((folder / "hf_quant_config.json").read_text())
    return legacy["quantization"]  # type: ignore[no-any-return]


def test_weights_alone_that_claim_quantized_inputs_are_named_so(tmp_path: Path) -> None:
    weights = {
        name: tensor
        for name, tensor in read_tensors(EXAMPLE).items()
        if not name.endswith("input_scale")
    }
    source = write_checkpoint(tmp_path / "src", weights, shards=2)

    record = repaired(source, tmp_path / "dst")

    assert said_config(tmp_path / "dst")["quant_algo"] == "W4A16_NVFP4"
    assert legacy_of(tmp_path / "dst")["quant_algo"] == "W4A16_NVFP4"
    assert record["shards"] == {}
    assert record["config_changes"]
    for shard in source.glob("*.safetensors"):
        assert (tmp_path / "dst" / shard.name).read_bytes() == shard.read_bytes()


def test_modules_that_are_not_packed_are_ignored_in_both_configs(
    tmp_path: Path,
) -> None:
    mixed = {}
    for name, tensor in read_tensors(EXAMPLE).items():
        if ".o_proj." not in name:
            mixed[name] = tensor
        elif name.endswith(".weight"):
            rows, columns = tensor.shape
            data = bytes(rows * columns * 2 * 2)
            mixed[name] = Tensor("BF16", (rows, columns * 2), data)
    source = write_checkpoint(tmp_path / "src", mixed)
    outputs = {f"model.layers.{n}.self_attn.o_proj" for n in range(2)}

    repaired(source, tmp_path / "dst")

    before = set(said_config(source)["ignore"])
    assert set(said_config(tmp_path / "dst")["ignore"]) == before | outputs
    assert set(legacy_of(tmp_path / "dst")["exclude_modules"]) == before | outputs


def test_names_and_config_are_repaired_together(tmp_path: Path) -> None:
    right = {
        name: tensor
        for name, tensor in read_tensors(EXAMPLE).items()
        if not name.endswith("input_scale")
    }
    source = write_checkpoint(tmp_path / "src", projection_first(right))

    record = repaired(source, tmp_path / "dst")

    assert record["kinds"] == ["projection-first"]
    assert said_config(tmp_path / "dst")["quant_algo"] == "W4A16_NVFP4"
    assert read_tensors(tmp_path / "dst") == right
