"""The keys of a config that vLLM reads, and what is one layer in vLLM."""

from pathlib import Path
from typing import Any

import pytest

from checkpoint.builders import NVFP4_CONFIG, modelopt_linear
from checkpoint.test_overlay import deepseek_v4, found, layout_of, told

ATTENTION = "model.layers.0.self_attn"
MLP = "model.layers.0.mlp"
PLAIN = {f"{MLP}.down_proj.weight": ("BF16", (96, 128))}
PACKED = {
    name: tensor
    for projection in ("q_proj", "v_proj", "o_proj")
    for name, tensor in modelopt_linear(f"{ATTENTION}.{projection}", 64, 96).items()
}


@pytest.mark.parametrize("key", ["modules_to_not_convert", "ignored_layers"])
def test_a_draft_that_is_excepted_where_nobody_reads_it_is_not_excepted(
    tmp_path: Path, key: str
) -> None:
    made: Any = deepseek_v4("mtp.0")

    layout = layout_of(
        tmp_path, made["tensors"], {**made["quantization"], key: ["mtp.*"]}
    )

    assert found(layout) == [("undeclared-draft", "info")]
    assert told(layout)["ignore"] == ["mtp.*"]


def test_exclusions_under_the_key_of_the_other_file_are_written_again(
    tmp_path: Path,
) -> None:
    config = {k: v for k, v in NVFP4_CONFIG.items() if k != "ignore"}
    config["exclude_modules"] = ["lm_head", f"{MLP}*"]

    layout = layout_of(tmp_path, {**PACKED, **PLAIN}, config)

    assert layout.servable
    assert f"{MLP}.down_proj" in told(layout)["ignore"]


@pytest.mark.parametrize(
    "config", [None, {**NVFP4_CONFIG, "ignore": [f"{ATTENTION}.k_proj"]}]
)
def test_a_layer_that_is_packed_in_part_is_refused(tmp_path: Path, config: Any) -> None:
    key = {f"{ATTENTION}.k_proj.weight": ("BF16", (64, 96))}

    layout = layout_of(tmp_path, {**PACKED, **key}, config)

    assert not layout.servable
    (split,) = (f for f in layout.findings if f.id == "split-layer")
    assert "k_proj" in split.message
