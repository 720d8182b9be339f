"""A ModelOpt export under compressed-tensors' names: the same weights, other labels.

No producer wrote such a file. It tells whether a reader turns the global scales the
right way up: compressed-tensors stores the inverse of what ModelOpt stores.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from twins.checkpoint_weights import Stored, read_tensors
from twins.corruption import write_shard

# As compressed-tensors 0.20 writes it.
_FOUR_BITS: dict[str, Any] = {
    "num_bits": 4,
    "type": "float",
    "symmetric": True,
    "group_size": 16,
    "strategy": "tensor_group",
}
_QUANTIZATION: dict[str, Any] = {
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**_FOUR_BITS, "dynamic": False},
            "input_activations": {**_FOUR_BITS, "dynamic": "local"},
            "output_activations": None,
            "format": "nvfp4-pack-quantized",
        }
    },
    "quant_method": "compressed-tensors",
    "kv_cache_scheme": None,
    "format": "nvfp4-pack-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head", "re:.*mlp.gate$"],
}


def as_compressed_tensors(folder: Path, copy: Path) -> Path:
    """Write to ``copy`` a ModelOpt NVFP4 checkpoint, relabelled; return ``copy``."""
    shutil.copytree(folder, copy)
    (copy / "hf_quant_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = _QUANTIZATION
    (copy / "config.json").write_text(json.dumps(config))
    stored = read_tensors(folder)
    renamed = dict(_renamed(name, tensor) for name, tensor in stored.items())
    write_shard(copy / "model.safetensors", renamed)
    return copy


def _renamed(name: str, tensor: Stored) -> tuple[str, Stored]:
    module, _, kind = name.rpartition(".")
    if tensor.dtype == "U8":
        return f"{module}.weight_packed", tensor
    inverse = {
        "weight_scale_2": "weight_global_scale",
        "input_scale": "input_global_scale",
    }
    if kind in inverse:
        upside_down = np.reshape(1 / tensor.data, (1,)).astype(np.float32)
        return f"{module}.{inverse[kind]}", Stored("F32", upside_down)
    return name, tensor
