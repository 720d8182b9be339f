"""Checkpoints for tests: real safetensors files in a folder, written by hand."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from nvfp4_serve.checkpoint.nvfp4 import tensor_bytes
from nvfp4_serve.checkpoint.types import Checkpoint

Stored = tuple[str, tuple[int, ...]]
#: Tensor name to dtype and shape.
Tensors = Mapping[str, Stored]

NVFP4_CONFIG: dict[str, object] = {
    "quant_method": "modelopt",
    "quant_algo": "NVFP4",
    "ignore": ["lm_head", "model.layers.0.mlp.gate"],
    "config_groups": {
        "group_0": {
            "input_activations": {"num_bits": 4, "type": "float", "group_size": 16},
            "weights": {"num_bits": 4, "type": "float", "group_size": 16},
            "targets": ["Linear"],
        }
    },
    "producer": {"name": "modelopt", "version": "0.47.0"},
}
COMPRESSED_CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "version": "0.20.0",
    "ignore": ["lm_head", "re:.*mlp.gate$"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "float", "group_size": 16},
            "input_activations": {"num_bits": 4, "type": "float", "group_size": 16},
            "format": "nvfp4-pack-quantized",
        }
    },
}
MODEL_CONFIG: dict[str, object] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_size": 96,
    "max_position_embeddings": 512,
}
_ATTENTION = (("q", 128, 96), ("k", 64, 96), ("v", 64, 96), ("o", 96, 128))
_EXPERT = (("gate", 48, 96), ("up", 48, 96), ("down", 96, 48))


def tensor_count(checkpoint: Checkpoint) -> int:
    """Return how many tensors were read."""
    return sum(group.count * len(group.tensors) for group in checkpoint.groups)


def header_of(tensors: Tensors) -> bytes:
    """Return the header that describes ``tensors`` one behind the other."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    cursor = 0
    for name, (dtype, shape) in tensors.items():
        size = tensor_bytes(dtype, shape)
        assert size is not None
        entries[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [cursor, cursor + size],
        }
        cursor += size
    return json.dumps(entries).encode()


def body_bytes(tensors: Tensors) -> int:
    """Return what ``tensors`` take in a file."""
    return sum(tensor_bytes(dtype, shape) or 0 for dtype, shape in tensors.values())


def write_shard(path: Path, header: bytes, body: int) -> None:
    """Write a shard with the header as it is and a sparse body."""
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + body)


def write_checkpoint(
    folder: Path,
    tensors: Tensors,
    *,
    quantization: Mapping[str, object] | None = None,
    config: Mapping[str, object] | None = None,
    shards: int = 1,
) -> Path:
    """Write a checkpoint of ``shards`` shards, with an index if there are several."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**MODEL_CONFIG, **(config or {})}
    if quantization is not None:
        content["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(content))
    items = list(tensors.items())
    if shards == 1:
        write_shard(
            folder / "model.safetensors", header_of(tensors), body_bytes(tensors)
        )
        return folder
    weight_map = {}
    for number in range(shards):
        part = dict(items[number::shards])
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        write_shard(folder / name, header_of(part), body_bytes(part))
        weight_map.update(dict.fromkeys(part, name))
    write_index(folder, weight_map)
    return folder


def write_index(folder: Path, weight_map: Mapping[str, str]) -> None:
    """Write the index."""
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def modelopt_linear(name: str, rows: int, cols: int) -> dict[str, Stored]:
    """Return the tensors of a linear layer as ModelOpt 0.47.0 exports it."""
    return {
        f"{name}.input_scale": ("F32", ()),
        f"{name}.weight": ("U8", (rows, cols // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (rows, cols // 16)),
        f"{name}.weight_scale_2": ("F32", ()),
    }


def compressed_linear(name: str, rows: int, cols: int) -> dict[str, Stored]:
    """Return the tensors of a linear layer as llm-compressor 0.14 writes it."""
    return {
        f"{name}.input_global_scale": ("F32", (1,)),
        f"{name}.weight_packed": ("U8", (rows, cols // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (rows, cols // 16)),
        f"{name}.weight_global_scale": ("F32", (1,)),
    }


def modelopt_moe(*, experts: int = 3) -> dict[str, Stored]:
    """Return a Qwen3-MoE of one layer: NVFP4 attention and experts."""
    layer = "model.layers.0"
    tensors: dict[str, Stored] = {
        "model.embed_tokens.weight": ("BF16", (256, 96)),
        f"{layer}.input_layernorm.weight": ("BF16", (96,)),
        f"{layer}.mlp.gate.weight": ("BF16", (experts, 96)),
        "lm_head.weight": ("BF16", (256, 96)),
    }
    for name, rows, cols in (
        ("q", 128, 96),
        ("k", 64, 96),
        ("v", 64, 96),
        ("o", 96, 128),
    ):
        tensors |= modelopt_linear(f"{layer}.self_attn.{name}_proj", rows, cols)
    for expert in range(experts):
        for name, rows, cols in (("gate", 48, 96), ("up", 48, 96), ("down", 96, 48)):
            tensors |= modelopt_linear(
                f"{layer}.mlp.experts.{expert}.{name}_proj", rows, cols
            )
    return tensors


#: Logical parameters of ``modelopt_moe`` with 3 experts, counted by hand:
#: embedding and head, norm, router, attention, experts.
MOE_PARAMETERS = (
    2 * 256 * 96 + 96 + 3 * 96 + 2 * 128 * 96 + 2 * 64 * 96 + 3 * 3 * 48 * 96
)


def without(tensors: Tensors, *endings: str) -> dict[str, Stored]:
    """Return ``tensors`` but those whose names end so."""
    return {name: t for name, t in tensors.items() if not name.endswith(endings)}


def compressed_moe() -> dict[str, Stored]:
    """Return ``modelopt_moe`` as llm-compressor writes it."""
    tensors = without(modelopt_moe(), "_proj.weight", "_scale", "_scale_2")
    for name, (dtype, shape) in modelopt_moe().items():
        if name.endswith("_proj.weight"):
            assert dtype == "U8"
            module = name.removesuffix(".weight")
            tensors |= compressed_linear(module, shape[0], shape[1] * 2)
    return tensors


def plain_moe() -> dict[str, Stored]:
    """Return ``modelopt_moe`` before it was quantized."""
    tensors = without(modelopt_moe(), "_scale", "_scale_2")
    return {
        name: ("BF16", (shape[0], shape[1] * 2)) if dtype == "U8" else (dtype, shape)
        for name, (dtype, shape) in tensors.items()
    }
