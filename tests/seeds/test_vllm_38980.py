"""vllm#38980: `KeyError: layers.28.mlp.experts.w2_weight_quantizer._double_scale`.

Two checkpoints of nvidia-modelopt 0.37.0 have that key. One is a state dict with all
of its scales, and is to be served. The other is an export that lost the true ones, and
is to be refused. The real vLLM and the real ModelOpt; Qwen3-MoE, as in the report.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Stored

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from patches.plain_twin import read_safetensors
from patches.probing import BugPresentError
from seeds.telling import TREES, ask, ask_as_served, nats_from_plain
from twins.bench import LoadError
from twins.exports import make_exports
from twins.matrix import Trees, furthest
from twins.plain import Tensors, make_plain, rearranged, without_leaked_keys
from twins.specimens_of_layouts import (
    QWEN3_MOE_0_37,
    QWEN3_MOE_COMPRESSED_EXPORT,
    QWEN3_MOE_EXPERTS_0_37,
    QWEN3_MOE_EXPERTS_COMPRESSED_EXPORT,
    QWEN3_MOE_STATE_DICT,
)

pytestmark = [pytest.mark.engine, pytest.mark.producer]

#: vLLM 0.26 to 0.32 say it so; 0.24 and older raised the report's KeyError.
_NO_PLACE_FOR_STATE = "_quantizer._"
_LOST = "the true ones are lost"


@pytest.fixture(scope="module", autouse=True)
def exports() -> None:
    make_exports(
        (
            QWEN3_MOE_0_37,
            QWEN3_MOE_STATE_DICT,
            QWEN3_MOE_COMPRESSED_EXPORT,
            QWEN3_MOE_EXPERTS_0_37,
            QWEN3_MOE_EXPERTS_COMPRESSED_EXPORT,
        )
    )


@pytest.mark.parametrize("tree", TREES)
def test_the_state_dict_is_served_right(
    tree: str, both_trees: Trees, tmp_path: Path
) -> None:
    folder = QWEN3_MOE_STATE_DICT.folder

    answers = ask_as_served(both_trees, tree, folder, _NO_PLACE_FOR_STATE)

    apart = nats_from_plain(both_trees, QWEN3_MOE_STATE_DICT, answers, tmp_path / "p")
    assert apart == 0


def test_what_is_made_of_the_state_dict_is_what_modelopt_exports() -> None:
    """Bit for bit, where the export does not merge scales of several layers.

    It gives q, k and v one global scale and gate and up another, and packs those
    anew; `o_proj` and `down_proj` it leaves alone.
    """
    state = read_safetensors(QWEN3_MOE_STATE_DICT.folder / "model.safetensors")
    exported = read_safetensors(QWEN3_MOE_0_37.folder / "model.safetensors")
    alone = {
        name: tensor
        for name, tensor in exported.items()
        if ".o_proj." in name or ".down_proj." in name
    }

    made = _rewritten(state)

    assert len(alone) == 4 * 2 * (1 + 12)
    assert {name: made[name] for name in alone} == alone
    assert made.keys() == exported.keys()


def _rewritten(state: Tensors) -> Tensors:
    headers = {n: Stored(dtype, tuple(shape)) for n, (dtype, shape, _) in state.items()}
    rewrite = make_rewrite(headers, "Qwen3MoeForCausalLM")
    assert rewrite is not None
    made: Tensors = {}
    for name, tensor in state.items():
        pieces = rewrite.pieces.get(name)
        if pieces is None:
            made[name] = tensor
            continue
        for piece in pieces:
            data = tensor[2]
            if piece.divisor is not None:
                data = (_float32(tensor) / np.float32(piece.divisor)).tobytes()
            made[piece.name] = (piece.dtype, list(piece.shape), data)
    return made


def _float32(tensor: tuple[str, list[int], bytes]) -> np.float32:
    dtype, _, data = tensor
    raw = b"\0\0" + data if dtype == "BF16" else data
    return np.float32(np.frombuffer(raw, "<f4")[0])


@pytest.mark.parametrize("tree", TREES)
def test_the_compressed_export_is_refused_with_its_cause(
    tree: str, both_trees: Trees
) -> None:
    folder = QWEN3_MOE_COMPRESSED_EXPORT.folder

    with pytest.raises(LoadError, match=_LOST):
        ask(both_trees[tree], folder, {}, "has no parameter 'w2_weight_quantizer")


def test_the_launcher_refuses_the_compressed_export_before_any_engine() -> None:
    layout = read_layout(read_checkpoint(str(QWEN3_MOE_COMPRESSED_EXPORT.folder)))

    assert layout.layout == "modelopt-compressed-export"
    assert not layout.servable


@pytest.mark.parametrize("tree", TREES)
def test_taking_the_leaked_keys_out_does_not_make_it_served(
    tree: str, both_trees: Trees, tmp_path: Path
) -> None:
    """Where only the experts are quantized, published vLLM loads it, and babbles."""
    stripped, plain = tmp_path / "stripped", tmp_path / "plain"
    rearranged(
        QWEN3_MOE_EXPERTS_COMPRESSED_EXPORT.folder, stripped, without_leaked_keys
    )
    make_plain(QWEN3_MOE_EXPERTS_0_37.folder, plain)

    with pytest.raises(LoadError, match=_LOST):
        _require_refused(both_trees, tree, stripped, plain)


def _require_refused(trees: Trees, tree: str, stripped: Path, plain: Path) -> None:
    answers = trees[tree].ask(stripped, {})
    apart = furthest(answers, trees["ours"].ask(plain, {}))
    raise BugPresentError(f"served, and {apart} nats from right")


def test_the_report_s_own_claim_is_in_the_export() -> None:
    """The producer's config says NVFP4, and the keys have the names of the report."""
    folder = QWEN3_MOE_COMPRESSED_EXPORT.folder
    config = json.loads((folder / "hf_quant_config.json").read_text())
    names = read_safetensors(folder / "model.safetensors")

    assert config["producer"] == {"name": "modelopt", "version": "0.37.0"}
    assert config["quantization"]["quant_algo"] == "NVFP4"
    assert (
        "model.layers.1.mlp.experts.0.down_proj.weight_quantizer._double_scale" in names
    )
