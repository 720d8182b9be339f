"""What the recipe meant, against headers that were built for it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from checkpoint.builders import (
    NVFP4_CONFIG,
    Stored,
    modelopt_moe,
    write_checkpoint,
)
from layouts import layout
from nvfp4_serve.checkpoint import read_checkpoint
from nvfp4_serve.errors import QuantizeError
from nvfp4_serve.quantize.compare import lost_parts, require_packed
from nvfp4_serve.quantize.types import Meant
from quantize.worlds import MEANT

EXPERTS = "model.layers.0.mlp.experts"


def compare(
    folder: Path, tensors: dict[str, Stored], names: Sequence[str] = MEANT
) -> int:
    write_checkpoint(folder, tensors, quantization=NVFP4_CONFIG)
    meant = [Meant(name, inputs=True) for name in names]
    return require_packed(meant, read_checkpoint(str(folder)))


def test_counts_the_modules_when_all_that_was_meant_is_packed(tmp_path: Path) -> None:
    assert compare(tmp_path, modelopt_moe()) == len(MEANT)


def test_names_experts_that_stayed_fused_and_plain(tmp_path: Path) -> None:
    tensors = {k: v for k, v in modelopt_moe().items() if ".experts." not in k}
    tensors[f"{EXPERTS}.gate_up_proj"] = ("BF16", (3, 96, 96))
    tensors[f"{EXPERTS}.down_proj"] = ("BF16", (3, 96, 48))

    with pytest.raises(QuantizeError, match="3 kinds of modules") as caught:
        compare(tmp_path, tensors)

    shown = "\n".join(caught.value.evidence)
    assert f"{EXPERTS}.*.up_proj: 0 of 3 packed" in shown
    assert "gate_up_proj BF16" in shown


def test_names_the_one_expert_that_stayed_plain(tmp_path: Path) -> None:
    tensors = modelopt_moe()
    name = f"{EXPERTS}.1.down_proj"
    for suffix in ("weight_scale", "weight_scale_2", "input_scale"):
        del tensors[f"{name}.{suffix}"]
    tensors[f"{name}.weight"] = ("BF16", (96, 48))

    with pytest.raises(QuantizeError) as caught:
        compare(tmp_path, tensors)

    (line,) = caught.value.evidence
    assert line.startswith(f"{EXPERTS}.*.down_proj: 2 of 3 packed")
    assert f"`{name}` has no packed weight (weight BF16)" in line


@pytest.mark.parametrize(
    ("suffix", "stored", "says"),
    [
        ("weight_scale", None, "no block scales"),
        ("weight_scale", ("F8_E4M3", (128, 3)), "not for blocks of 16"),
        ("weight_scale_2", None, "no global scale"),
        ("input_scale", None, "no input scale"),
        ("weight_scale_2", ("BF16", ()), "is BF16 [], not one F32 number"),
        ("weight_scale_2", ("F32", (2,)), "is F32 [2], not one F32 number"),
        ("input_scale", ("F16", (1,)), "is F16 [1], not one F32 number"),
        ("input_scale", ("F32", (96,)), "is F32 [96], not one F32 number"),
    ],
)
def test_says_what_a_packed_module_lacks(
    tmp_path: Path, suffix: str, stored: Stored | None, says: str
) -> None:
    tensors = modelopt_moe()
    name = f"model.layers.0.self_attn.q_proj.{suffix}"
    if stored is None:
        del tensors[name]
    else:
        tensors[name] = stored

    with pytest.raises(QuantizeError) as caught:
        compare(tmp_path, tensors)

    assert says in caught.value.evidence[0]


def test_an_input_scale_is_missed_only_where_inputs_are_meant(tmp_path: Path) -> None:
    tensors = {k: v for k, v in modelopt_moe().items() if "input_scale" not in k}
    write_checkpoint(tmp_path, tensors, quantization=NVFP4_CONFIG)
    meant = [Meant(name, inputs=False) for name in MEANT]

    assert require_packed(meant, read_checkpoint(str(tmp_path))) == len(MEANT)


def test_a_name_that_was_never_written_is_missed(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError) as caught:
        compare(tmp_path, modelopt_moe(), ["model.layers.1.mlp.up_proj"])

    assert caught.value.evidence == (
        "model.layers.1.mlp.up_proj; nothing of that name was written",
    )


def test_a_recipe_that_means_nothing_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="quantizes nothing"):
        compare(tmp_path, modelopt_moe(), [])


def test_a_dropped_mtp_part_is_noticed() -> None:
    plain = layout(schemes={"attention": "BF16", "mtp": "BF16", "vision": "BF16"})
    made = layout(schemes={"attention": "NVFP4", "vision": "BF16"})

    assert lost_parts(plain, made) == ("mtp",)
    assert lost_parts(plain, plain) == ()
