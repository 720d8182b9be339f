"""vllm#40885: Qwen3-VL-MoE with the projection before the number of the expert.

nvidia-modelopt 0.43.0 takes its fused experts apart in that order. The real vLLM and
the real ModelOpt.
"""

from pathlib import Path

import pytest

from patches.plain_twin import read_safetensors
from seeds.telling import TREES, ask_as_served, nats_from_plain
from twins.exports import make_exports
from twins.matrix import Trees
from twins.plain import rearranged
from twins.processor_files import write_processor_files
from twins.specimens_of_layouts import QWEN3_VL_MOE_0_43

pytestmark = [pytest.mark.engine, pytest.mark.producer]

#: vLLM 0.26 to 0.32 say it so; older ones raised the report's IndexError.
_NO_PLACE = "has no parameter 'w2_weight"


@pytest.fixture(scope="module", autouse=True)
def exports() -> None:
    make_exports((QWEN3_VL_MOE_0_43,))


def test_the_export_has_the_names_of_the_report() -> None:
    names = read_safetensors(QWEN3_VL_MOE_0_43.folder / "model.safetensors")

    layer = "model.language_model.layers.0.mlp.experts"
    assert f"{layer}.gate_proj.0.weight_scale_2" in names
    assert f"{layer}.down_proj.11.input_scale" in names


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("weight", ["weight", "weight_packed"])
def test_it_is_served_right(
    tree: str, weight: str, both_trees: Trees, tmp_path: Path
) -> None:
    """With the name that 0.43.0 writes, and with that of the report."""
    folder = tmp_path / "model"
    rearranged(
        QWEN3_VL_MOE_0_43.folder,
        folder,
        lambda tensors: {
            name.removesuffix("weight") + weight
            if ".experts." in name and name.endswith(".weight")
            else name: tensor
            for name, tensor in tensors.items()
        },
    )
    write_processor_files(folder)

    answers = ask_as_served(both_trees, tree, folder, _NO_PLACE)

    apart = nats_from_plain(both_trees, QWEN3_VL_MOE_0_43, answers, tmp_path / "plain")
    assert apart == 0
