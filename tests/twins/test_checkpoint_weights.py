from pathlib import Path

import numpy as np
import pytest

from twins.checkpoint_weights import Stored, read_tensors, read_weights
from twins.corruption import write_shard
from twins.nvfp4_arithmetic import Bytes

_PACKED = np.arange(4 * 16, dtype=np.uint8).reshape(4, 16)
_BLOCK_SCALE = np.full((4, 2), 0x38, np.uint8)  # 1.0


def _float(value: float) -> Stored:
    return Stored("F32", np.array(value, np.float32))


def _checkpoint(folder: Path, tensors: dict[str, Stored]) -> Path:
    folder.mkdir()
    write_shard(folder / "model.safetensors", tensors)
    return folder


def _modelopt(folder: Path, block_scale: Bytes = _BLOCK_SCALE) -> Path:
    return _checkpoint(
        folder,
        {
            "up.weight": Stored("U8", _PACKED),
            "up.weight_scale": Stored("F8_E4M3", block_scale),
            "up.weight_scale_2": _float(0.25),
            "up.input_scale": _float(0.125),
        },
    )


def _compressed_tensors(folder: Path) -> Path:
    return _checkpoint(
        folder,
        {
            "up.weight_packed": Stored("U8", _PACKED),
            "up.weight_scale": Stored("F8_E4M3", _BLOCK_SCALE),
            "up.weight_global_scale": _float(4.0),
            "up.input_global_scale": _float(8.0),
        },
    )


def test_both_producers_files_give_the_same_weights(tmp_path: Path) -> None:
    modelopt = read_weights(_modelopt(tmp_path / "modelopt"))
    other = read_weights(_compressed_tensors(tmp_path / "compressed-tensors"))

    assert list(modelopt.tensors) == list(other.tensors) == ["up.weight"]
    assert (modelopt.tensors["up.weight"] == other.tensors["up.weight"]).all()
    assert modelopt.input_scales == other.input_scales == {"up": 0.125}


def test_the_global_scale_is_multiplied_in(tmp_path: Path) -> None:
    weights = read_weights(_modelopt(tmp_path / "modelopt")).tensors["up.weight"]

    # The second byte of row 0 is 0x01: 0.5, then 0.
    assert weights.shape == (4, 32)
    assert weights[0, 2:4].tolist() == [0.5 * 0.25, 0.0]


def test_all_shards_are_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "model-1.safetensors", {"a": _float(1)})
    write_shard(tmp_path / "model-2.safetensors", {"b": _float(2)})

    assert sorted(read_tensors(tmp_path)) == ["a", "b"]


def test_a_missing_block_scale_is_an_error(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "bare", {"up.weight": Stored("U8", _PACKED)})

    with pytest.raises(KeyError, match=r"up\.weight_scale"):
        read_weights(folder)
