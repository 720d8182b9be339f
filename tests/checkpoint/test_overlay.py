"""The config that the engine is told where the files' own contradicts the tensors."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from checkpoint.builders import (
    COMPRESSED_CONFIG,
    NVFP4_CONFIG,
    Stored,
    Tensors,
    compressed_linear,
    compressed_moe,
    modelopt_linear,
    modelopt_moe,
    without,
    write_checkpoint,
)
from checkpoint.foreign_names import state_dict
from nvfp4_serve.checkpoint import layout_json, read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout, Producer

LAYER = "model.layers.0"
EXPERT = f"{LAYER}.mlp.experts.1.down_proj"
SHARED = f"{LAYER}.mlp.shared_expert.up_proj"
MOE = modelopt_moe()
PLAIN_SHARED: dict[str, Stored] = {f"{SHARED}.weight": ("BF16", (48, 96))}
NATIVE: dict[str, object] = {
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
    "moe_quant_algo": "NVFP4",
}


def layout_of(
    folder: Path,
    tensors: Tensors,
    quantization: Mapping[str, object] | None = None,
    legacy: Mapping[str, object] | None = None,
) -> Layout:
    write_checkpoint(folder, tensors, quantization=quantization)
    if legacy is not None:
        (folder / "hf_quant_config.json").write_text(json.dumps(legacy))
    return read_layout(read_checkpoint(str(folder)))


def found(layout: Layout) -> list[tuple[str, str]]:
    return [(finding.id, finding.severity.value) for finding in layout.findings]


def told(layout: Layout) -> Any:
    assert layout.overlay is not None
    assert layout.overlay.changes
    return layout.overlay.quantization_config


def deepseek_v4(mtp: str, ignore: list[str] | None = None) -> dict[str, object]:
    """Return the tensors and the config of NVFP4 experts with a draft layer."""
    packed = modelopt_linear("layers.0.ffn.experts.0.w1", 64, 96)
    draft: dict[str, Stored] = {
        f"{mtp}.ffn.experts.0.w1.weight": ("I8", (64, 48)),
        f"{mtp}.ffn.experts.0.w1.scale": ("F8_E8M0", (64, 3)),
    }
    config = NATIVE if ignore is None else {**NATIVE, "ignore": ignore}
    return {"tensors": {**packed, **draft}, "quantization": config}


def test_says_weights_only_where_nothing_has_an_input_scale(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, without(MOE, "input_scale"), NVFP4_CONFIG)

    assert found(layout) == [("missing-input-scale", "warning")]
    assert layout.schemes["routed_experts"] == "W4A16_NVFP4"
    group = NVFP4_CONFIG["config_groups"]["group_0"]  # type: ignore[index]
    weights = {key: group[key] for key in ("weights", "targets")}
    assert told(layout) == {
        **NVFP4_CONFIG,
        "quant_algo": "W4A16_NVFP4",
        "config_groups": {"group_0": weights},
    }


def test_says_weights_only_in_the_way_of_compressed_tensors(tmp_path: Path) -> None:
    tensors = without(compressed_moe(), "input_global_scale")

    layout = layout_of(tmp_path, tensors, COMPRESSED_CONFIG)

    expected = copy.deepcopy(COMPRESSED_CONFIG)
    expected["config_groups"]["group_0"]["input_activations"] = None  # type: ignore[index]
    assert found(layout) == [("missing-input-scale", "warning")]
    assert layout.schemes["attention"] == "W4A16_NVFP4"
    assert told(layout) == expected


def test_does_not_guess_where_some_have_an_input_scale(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, without(MOE, f"{EXPERT}.input_scale"), NVFP4_CONFIG)

    assert found(layout) == [("missing-input-scale", "error")]
    assert layout.overlay is None
    assert not layout.servable


def test_leaves_a_config_that_is_right_alone(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, MOE, NVFP4_CONFIG)

    assert layout.overlay is None
    assert layout_json(layout)["overlay"] is None


@pytest.mark.parametrize(
    ("tensors", "quantization", "ignored"),
    [
        pytest.param({**MOE, **PLAIN_SHARED}, NVFP4_CONFIG, SHARED, id="modelopt"),
        pytest.param(
            {**compressed_moe(), **PLAIN_SHARED},
            COMPRESSED_CONFIG,
            SHARED,
            id="compressed",
        ),
        pytest.param(
            {
                **MOE,
                "model.layers.1.mlp.experts.0.up_proj.weight": ("BF16", (48, 96)),
                "model.layers.1.mlp.experts.1.up_proj.weight": ("BF16", (48, 96)),
            },
            NVFP4_CONFIG,
            "model.layers.1.mlp.experts",
            id="mtp-experts",
        ),
    ],
)
def test_ignores_what_is_stored_plain(
    tmp_path: Path, tensors: Tensors, quantization: dict[str, Any], ignored: str
) -> None:
    layout = layout_of(tmp_path, tensors, quantization)

    assert layout.servable
    assert [name for name, _ in found(layout)] == ["plain-but-not-excluded"]
    ignore = [*quantization["ignore"], ignored]
    assert told(layout) == {**quantization, "ignore": ignore}


@pytest.mark.parametrize("key", ["ignore", "nothing"])
def test_ignores_the_router_and_the_head_where_they_are_built_packed(
    tmp_path: Path, key: str
) -> None:
    config = {name: said for name, said in NVFP4_CONFIG.items() if name != "ignore"}
    if key == "ignore":
        config["ignore"] = []

    layout = layout_of(tmp_path, MOE, config)

    assert set(found(layout)) == {
        ("plain-but-not-excluded", "warning"),
        ("plain-but-not-excluded", "info"),
    }
    assert told(layout) == {**config, "ignore": ["lm_head", f"{LAYER}.mlp.gate"]}


def test_knows_that_most_models_build_their_router_plain(tmp_path: Path) -> None:
    config = {**NVFP4_CONFIG, "ignore": ["lm_head"]}
    write_checkpoint(
        tmp_path,
        MOE,
        quantization=config,
        config={"architectures": ["DeepseekV3ForCausalLM"]},
    )

    layout = read_layout(read_checkpoint(str(tmp_path)))

    assert found(layout) == []


def test_refuses_a_method_that_is_not_that_of_the_tensors(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, MOE, {"quant_method": "gptq", "bits": 4})

    assert found(layout) == [("other-method", "error")]
    assert layout.overlay is None


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param(f"{LAYER}.self_attn.q_proj", id="one-of-qkv"),
        pytest.param(EXPERT, id="one-expert"),
    ],
)
def test_does_not_ignore_a_part_of_what_the_engine_builds_as_one(
    tmp_path: Path, plain: str
) -> None:
    rest = {name: t for name, t in MOE.items() if not name.startswith(f"{plain}.")}

    layout = layout_of(
        tmp_path, {**rest, f"{plain}.weight": ("BF16", (96, 48))}, NVFP4_CONFIG
    )

    assert layout.overlay is None


def test_does_not_ignore_what_hides_a_packed_module(tmp_path: Path) -> None:
    # vLLM excludes by parts of names: `...up_proj` is one of `...up_proj_2`.
    layout = layout_of(
        tmp_path,
        {**MOE, **PLAIN_SHARED, **modelopt_linear(f"{SHARED}_2_proj", 48, 96)},
        NVFP4_CONFIG,
    )

    assert ("plain-but-not-excluded", "error") in found(layout)
    assert layout.overlay is None


def test_holds_the_overlay_against_the_tensors_too(tmp_path: Path) -> None:
    # The plain name is a part of the packed one, and would exclude it.
    tensors = {
        **compressed_linear("model.layers.0.mlp.up_proj", 48, 96),
        "layers.0.mlp.up_proj.weight": ("BF16", (48, 96)),
    }

    layout = layout_of(tmp_path, tensors, COMPRESSED_CONFIG)

    assert found(layout) == [("plain-but-not-excluded", "error")]
    assert layout.overlay is None


def test_does_not_correct_a_config_that_the_engine_would_not_ask(
    tmp_path: Path,
) -> None:
    # vLLM takes the layers of an older export from hf_quant_config.json, and what is
    # excluded too.
    layers = {SHARED: {"quant_algo": "NVFP4"}, EXPERT: {"quant_algo": "NVFP4"}}
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    legacy = {"quantization": {**mixed, "quantized_layers": layers}}
    tensors = {**modelopt_linear(EXPERT, 96, 48), **PLAIN_SHARED}

    layout = layout_of(tmp_path, tensors, mixed, legacy)

    assert found(layout) == [("plain-but-not-excluded", "error")]
    assert layout.overlay is None


def test_remembers_the_producer_that_the_other_config_names(tmp_path: Path) -> None:
    config = {**NVFP4_CONFIG, "producer": None}
    legacy = {
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {"quant_algo": "NVFP4"},
    }

    layout = layout_of(tmp_path, without(MOE, "input_scale"), config, legacy)

    assert layout.overlay is not None
    assert layout.producer == Producer("modelopt", "0.47.0")
    assert found(layout) == [("missing-input-scale", "warning")]


@pytest.mark.parametrize(
    ("mtp", "ignore"),
    [
        pytest.param("mtp.0", None, id="no-ignore"),
        pytest.param("mtp.0", ["*.attn.*", "head"], id="no-mtp-in-ignore"),
    ],
)
def test_excepts_the_draft_layers_of_deepseek_v4(
    tmp_path: Path, mtp: str, ignore: list[str] | None
) -> None:
    made: Any = deepseek_v4(mtp, ignore)

    layout = layout_of(tmp_path, made["tensors"], made["quantization"])

    assert layout.layout == "deepseek-v4"
    assert found(layout) == [("undeclared-draft", "info")]
    assert layout.schemes == {"routed_experts": "NVFP4", "mtp": "MXFP4"}
    assert told(layout) == {**NATIVE, "ignore": [*(ignore or []), "mtp.*"]}


def test_leaves_draft_layers_alone_that_are_declared(tmp_path: Path) -> None:
    made: Any = deepseek_v4("mtp.0", ["*.attn.*", "mtp.*"])

    layout = layout_of(tmp_path, made["tensors"], made["quantization"])

    assert found(layout) == []
    assert layout.overlay is None


def test_needs_an_input_scale_for_the_experts_of_deepseek_v4(tmp_path: Path) -> None:
    made: Any = deepseek_v4("mtp.0", ["mtp.*"])

    layout = layout_of(
        tmp_path, without(made["tensors"], "input_scale"), made["quantization"]
    )

    assert found(layout) == [("missing-input-scale", "error")]
    assert layout.overlay is None


def test_moves_a_legacy_w4a16_into_the_form_that_vllm_takes(tmp_path: Path) -> None:
    legacy = {
        "producer": {"name": "modelopt", "version": "0.47.0"},
        "quantization": {
            "quant_algo": "W4A16_NVFP4",
            "group_size": 16,
            "kv_cache_quant_algo": "FP8",
            "exclude_modules": ["lm_head", f"{LAYER}.mlp.gate"],
        },
    }

    layout = layout_of(tmp_path, without(MOE, "input_scale"), legacy=legacy)

    assert found(layout) == [("legacy-config-algorithm", "warning")]
    assert layout.schemes["kv_cache"] == "FP8"
    assert told(layout) == {
        "quant_method": "modelopt",
        "quant_algo": "W4A16_NVFP4",
        "group_size": 16,
        "ignore": ["lm_head", f"{LAYER}.mlp.gate"],
        "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
        "producer": {"name": "modelopt", "version": "0.47.0"},
    }


def test_describes_a_state_dict_of_which_no_config_speaks(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, state_dict(MOE))

    assert found(layout) == [
        ("quantized-not-claimed", "warning"),
        ("quantizer-state", "info"),
    ]
    config = told(layout)
    assert (config["quant_method"], config["quant_algo"]) == ("modelopt", "NVFP4")
    assert set(config["config_groups"]["group_0"]) >= {"weights", "input_activations"}
    assert config["ignore"] == ["lm_head", f"{LAYER}.mlp.gate"]
    assert "kv_cache_scheme" not in config


def test_asks_for_the_cache_of_which_a_state_dict_has_scales(tmp_path: Path) -> None:
    cache = {
        f"{LAYER}.self_attn.{name}_bmm_quantizer._amax": ("F32", ()) for name in "kv"
    }

    layout = layout_of(tmp_path, {**state_dict(MOE), **cache})

    assert told(layout)["kv_cache_scheme"]["num_bits"] == 8
    assert layout.schemes["kv_cache"] == "FP8"
    assert layout.servable


def test_does_not_guess_of_a_state_dict_where_some_have_an_input_scale(
    tmp_path: Path,
) -> None:
    tensors = without(state_dict(MOE), f"{EXPERT}.input_quantizer._amax")

    layout = layout_of(tmp_path, tensors)

    assert ("quantized-not-claimed", "error") in found(layout)
    assert layout.overlay is None


def test_prints_the_overlay_whole(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, {**MOE, **PLAIN_SHARED}, NVFP4_CONFIG)

    printed: Any = json.loads(json.dumps(layout_json(layout)))["overlay"]

    assert printed["quantization_config"] == told(layout)
    assert printed["changes"] == [
        f"`ignore` has `{SHARED}` too: stored as plain weights."
    ]
