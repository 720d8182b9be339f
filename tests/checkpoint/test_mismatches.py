"""Each module against what the config says of it: what is refused, and what is not."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from checkpoint.builders import (
    NVFP4_CONFIG,
    Stored,
    Tensors,
    compressed_linear,
    modelopt_linear,
    write_checkpoint,
)
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout

Config = Mapping[str, object]

LAYER = "model.layers.0"
UP = f"{LAYER}.mlp.up_proj"
DOWN = f"{LAYER}.mlp.down_proj"
Q = f"{LAYER}.self_attn.q_proj"
EXPERTS = f"{LAYER}.mlp.experts"
MIXED = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
FP8 = {"quant_method": "modelopt", "quant_algo": "FP8"}
NATIVE = {"quant_method": "fp8", "weight_block_size": [128, 128]}
FOUR_BITS = {"num_bits": 4, "type": "float", "group_size": 16}
EIGHT_BITS = {"num_bits": 8, "type": "float"}


def plain(*names: str) -> dict[str, Stored]:
    return {f"{name}.weight": ("BF16", (64, 96)) for name in names}


def fp8(name: str) -> dict[str, Stored]:
    return {
        f"{name}.weight": ("F8_E4M3", (64, 96)),
        f"{name}.weight_scale": ("F32", ()),
        f"{name}.input_scale": ("F32", ()),
    }


def fp8_block(name: str) -> dict[str, Stored]:
    return {
        f"{name}.weight": ("F8_E4M3", (256, 256)),
        f"{name}.weight_scale_inv": ("F32", (2, 2)),
    }


def nvfp4(*names: str) -> dict[str, Stored]:
    return {k: t for name in names for k, t in modelopt_linear(name, 64, 96).items()}


def weights_only(*names: str) -> dict[str, Stored]:
    return {k: t for k, t in nvfp4(*names).items() if not k.endswith(".input_scale")}


def packed(name: str, *, inputs: bool = True) -> dict[str, Stored]:
    tensors = compressed_linear(name, 64, 96)
    return {k: t for k, t in tensors.items() if inputs or "input" not in k}


def mixed(**layers: str) -> Config:
    names = {"q": Q, "up": UP, "experts": EXPERTS, "expert": f"{EXPERTS}.0.up_proj"}
    entries = {names[name]: {"quant_algo": algo} for name, algo in layers.items()}
    return {**MIXED, "quantized_layers": entries}


def compressed(*groups: tuple[str, str, bool], ignore: tuple[str, ...] = ()) -> Config:
    """Return a config of groups: target, format, and whether inputs are quantized."""
    bits = {"nvfp4-pack-quantized": FOUR_BITS, "float-quantized": EIGHT_BITS}
    return {
        "quant_method": "compressed-tensors",
        "format": "mixed-precision" if len(groups) > 1 else groups[0][1],
        "ignore": ["lm_head", *ignore],
        "config_groups": {
            f"group_{number}": {
                "targets": [target],
                "format": form,
                "weights": bits[form],
                "input_activations": bits[form] if inputs else None,
            }
            for number, (target, form, inputs) in enumerate(groups)
        },
    }


def layout_of(folder: Path, tensors: Tensors, quantization: Config) -> Layout:
    write_checkpoint(folder, tensors, quantization=quantization)
    return read_layout(read_checkpoint(str(folder)))


NV = "nvfp4-pack-quantized"
F8 = "float-quantized"


@pytest.mark.parametrize(
    ("tensors", "quantization", "finding"),
    [
        pytest.param(nvfp4(UP), FP8, "stored-otherwise", id="fp8-is-nvfp4"),
        pytest.param(nvfp4(UP), NATIVE, "stored-otherwise", id="native-is-nvfp4"),
        pytest.param(plain(UP), FP8, "claimed-not-quantized", id="fp8-is-plain"),
        pytest.param(plain(UP), NATIVE, "claimed-not-quantized", id="native-is-plain"),
        pytest.param(
            nvfp4(UP),
            compressed(("Linear", NV, True)),
            "stored-otherwise",
            id="compressed-is-modelopt",
        ),
        pytest.param(
            packed(UP), NVFP4_CONFIG, "stored-otherwise", id="modelopt-is-compressed"
        ),
        pytest.param(
            {**nvfp4(UP), **fp8(DOWN)}, NVFP4_CONFIG, "stored-otherwise", id="one-fp8"
        ),
        pytest.param(fp8(UP), NVFP4_CONFIG, "stored-otherwise", id="nvfp4-is-fp8"),
        pytest.param(fp8_block(UP), FP8, "stored-otherwise", id="fp8-is-block"),
        pytest.param(
            plain(UP), mixed(up="NVFP4"), "claimed-not-quantized", id="mixed-is-plain"
        ),
        pytest.param(
            {**nvfp4(Q), **nvfp4(UP)},
            mixed(q="FP8", up="NVFP4"),
            "stored-otherwise",
            id="mixed-attention-is-nvfp4",
        ),
        pytest.param(
            {**nvfp4(Q), **nvfp4(UP)},
            mixed(up="NVFP4"),
            "excluded-but-quantized",
            id="mixed-does-not-name-it",
        ),
        pytest.param(
            {**fp8(Q), **nvfp4(UP)},
            {**NVFP4_CONFIG, "ignore": ["*self_attn*"]},
            "excluded-but-quantized",
            id="excluded-is-fp8",
        ),
        pytest.param(
            {f"{UP}.weight": ("F8_E4M3", (64, 96))}, FP8, "missing-fp8-scale", id="none"
        ),
        pytest.param(
            {**fp8(Q), **packed(UP)},
            compressed(("re:.*mlp.*", F8, True), ("Linear", NV, True)),
            "stored-otherwise",
            id="compressed-groups-exchanged",
        ),
        pytest.param(
            {f"{EXPERTS}.gate_up_proj": ("BF16", (4, 64, 96))},
            {"quant_method": "mxfp4"},
            "claimed-not-quantized",
            id="mxfp4-is-plain",
        ),
        pytest.param(
            {**weights_only(f"{EXPERTS}.0.up_proj"), **nvfp4(Q)},
            mixed(q="NVFP4", experts="NVFP4"),
            "missing-input-scale",
            id="mixed-without-input-scale",
        ),
    ],
)
def test_refuses_what_the_config_says_otherwise(
    tmp_path: Path, tensors: Tensors, quantization: Config, finding: str
) -> None:
    layout = layout_of(tmp_path, tensors, quantization)

    assert finding in [found.id for found in layout.findings]
    assert not layout.servable
    assert layout.overlay is None


@pytest.mark.parametrize(
    ("tensors", "quantization", "ignored"),
    [
        pytest.param(
            {**fp8(Q), **plain(f"{EXPERTS}.0.up_proj")},
            mixed(q="FP8", experts="NVFP4"),
            EXPERTS,
            id="mixed-experts-are-plain",
        ),
        pytest.param(
            {**plain(Q), **nvfp4(UP)},
            mixed(q="FP8", up="NVFP4"),
            Q,
            id="mixed-attention-is-plain",
        ),
    ],
)
def test_has_the_engine_ignore_what_the_config_should_have_excluded(
    tmp_path: Path, tensors: Tensors, quantization: Config, ignored: str
) -> None:
    layout = layout_of(tmp_path, tensors, quantization)

    assert [found.id for found in layout.findings] == ["plain-but-not-excluded"]
    assert layout.servable
    assert layout.overlay is not None
    assert layout.overlay.quantization_config == {**quantization, "ignore": [ignored]}


@pytest.mark.parametrize(
    ("tensors", "quantization", "schemes"),
    [
        pytest.param(
            {**fp8(Q), **weights_only(f"{EXPERTS}.0.up_proj")},
            mixed(q="FP8", experts="W4A16_NVFP4"),
            {"attention": "FP8", "routed_experts": "W4A16_NVFP4"},
            id="fp8-and-w4a16-experts",
        ),
        pytest.param(
            {**fp8(Q), **weights_only(*(f"{EXPERTS}.{i}.up_proj" for i in range(2)))},
            mixed(q="FP8", expert="W4A16_NVFP4"),
            {"attention": "FP8", "routed_experts": "W4A16_NVFP4"},
            id="experts-by-their-first",
        ),
        pytest.param(
            {**nvfp4(Q), **weights_only(UP)},
            mixed(q="NVFP4", up="W4A16_NVFP4"),
            {"attention": "NVFP4", "mlp": "W4A16_NVFP4"},
            id="nvfp4-and-w4a16",
        ),
        pytest.param(
            {**fp8(Q), **packed(UP, inputs=False)},
            compressed(("re:.*self_attn.*", F8, True), ("Linear", NV, False)),
            {"attention": "FP8", "mlp": "W4A16_NVFP4"},
            id="compressed-fp8-and-w4a16",
        ),
        pytest.param(
            {**plain(Q), **nvfp4(UP)},
            mixed(up="nvfp4"),
            {"attention": "BF16", "mlp": "NVFP4"},
            id="mixed-leaves-some-plain",
        ),
        pytest.param(
            {**plain(Q, "lm_head", "model.visual.q_proj"), **packed(UP)},
            compressed(("Linear", NV, True), ignore=("re:.*attn.*", "re:.*visual.*")),
            {
                "attention": "BF16",
                "mlp": "NVFP4",
                "lm_head": "BF16",
                "vision": "BF16",
            },
            id="compressed-ignores",
        ),
        pytest.param(
            {**plain(Q), **packed(UP)},
            compressed(("re:.*mlp.*", NV, True)),
            {"attention": "BF16", "mlp": "NVFP4"},
            id="compressed-narrow-target",
        ),
        pytest.param(
            {**plain(Q), **fp8(UP), **plain("mtp.fc", "model.embed_tokens")},
            {**FP8, "quant_algo": "fp8", "exclude_modules": ["*self_attn*", "mtp*"]},
            {
                "attention": "BF16",
                "mlp": "FP8",
                "mtp": "BF16",
                "embeddings": "BF16",
            },
            id="fp8-excludes",
        ),
        pytest.param(
            {**fp8_block(Q), **plain(UP)},
            {**NATIVE, "modules_to_not_convert": [UP]},
            {"attention": "FP8_BLOCK", "mlp": "BF16"},
            id="native-excludes",
        ),
        pytest.param(
            {
                **nvfp4(UP),
                f"{Q}.weight": ("BF16", (64, 96)),
                f"{Q}.k_scale": ("F32", ()),
            },
            {**NVFP4_CONFIG, "ignore": ["model.layers.0.self_attn"]}
            | {"kv_cache_quant_algo": "FP8"},
            {"attention": "BF16", "mlp": "NVFP4", "kv_cache": "FP8"},
            id="kv-scales",
        ),
        pytest.param(
            {
                f"{UP}.weight": ("F8_E4M3", (256, 256)),
                f"{UP}.weight_scale": ("F32", (2, 1, 2, 1)),
            },
            {**FP8, "quant_algo": "fp8_pb_wo"},
            {"mlp": "FP8_BLOCK"},
            id="modelopt-blocks",
        ),
        pytest.param(
            {
                "layers.0.attn.wq.weight": ("F8_E4M3", (256, 256)),
                "layers.0.attn.wq.scale": ("F8_E8M0", (2, 2)),
                **nvfp4("layers.0.ffn.experts.0.w1"),
                "mtp.0.ffn.experts.0.w1.weight": ("I8", (64, 48)),
                "mtp.0.ffn.experts.0.w1.scale": ("F8_E8M0", (64, 3)),
            },
            {
                **MIXED,
                "quant_method": "fp8",
                "moe_quant_algo": "NVFP4",
                "ignore": ["*.attn.*", "mtp.*"],
            },
            {"attention": "FP8_BLOCK", "routed_experts": "NVFP4", "mtp": "MXFP4"},
            id="deepseek-v4",
        ),
    ],
)
def test_takes_what_the_config_says(
    tmp_path: Path, tensors: Tensors, quantization: Config, schemes: Mapping[str, str]
) -> None:
    layout = layout_of(tmp_path, tensors, quantization)

    assert layout.findings == ()
    assert layout.schemes == schemes
