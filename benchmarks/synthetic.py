"""Make a checkpoint with the shape of DeepSeek-V4-Pro: real headers, sparse bodies.

The folder says that it holds about 800 GiB and takes about 65 MB of disk. Names, shapes
and dtypes are those of NVIDIA's export (ModelOpt NVFP4 experts, native FP8 attention).
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HIDDEN: Final = 7168
_EXPERT: Final = 3072
_HEADS: Final = 128
_HEAD_DIM: Final = 512
_Q_RANK: Final = 1536
_VOCABULARY: Final = 129_280
#: Bytes of an element. In the order in which safetensors 0.7 writes the dtypes into a
#: header; tensors of one dtype it sorts by name.
_ITEM: Final = {"F32": 4, "BF16": 2, "F8_E8M0": 1, "F8_E4M3": 1, "U8": 1}
_RANK: Final = {dtype: rank for rank, dtype in enumerate(_ITEM)}

Tensor = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the checkpoint is; the defaults give about 282,000 tensors."""

    layers: int = 61
    experts: int = 384
    shards: int = 64


@dataclass(frozen=True, slots=True)
class Made:
    """What was written."""

    tensors: int
    header_bytes: int
    apparent_bytes: int


def make_checkpoint(folder: Path, shape: Shape) -> Made:
    """Write the checkpoint into ``folder``, which must be empty."""
    tensors = list(_tensors(shape))
    per_shard = -(-len(tensors) // shape.shards)
    parts = [tensors[i : i + per_shard] for i in range(0, len(tensors), per_shard)]
    weight_map: dict[str, str] = {}
    header_bytes = apparent = 0
    for number, part in enumerate(parts, start=1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        header, body = _header(part)
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + body)
        weight_map.update((tensor[0], name) for tensor in part)
        header_bytes += len(header) + 8
        apparent += body
    index = json.dumps(
        {"metadata": {"total_size": apparent}, "weight_map": weight_map}, indent=2
    )
    (folder / "model.safetensors.index.json").write_text(index)
    (folder / "config.json").write_text(json.dumps(_config(shape), indent=2))
    return Made(len(tensors), header_bytes, apparent)


def _header(tensors: list[Tensor]) -> tuple[bytes, int]:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    cursor = 0
    for name, dtype, shape in sorted(tensors, key=lambda t: (_RANK[t[1]], t[0])):
        size = _ITEM[dtype]
        for side in shape:
            size *= side
        entries[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [cursor, cursor + size],
        }
        cursor += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    # The writers of the field pad the header to 8 bytes with spaces.
    return header + b" " * (-len(header) % 8), cursor


def _tensors(shape: Shape) -> Iterator[Tensor]:
    yield "embed.weight", "BF16", (_VOCABULARY, _HIDDEN)
    for layer in range(shape.layers):
        yield from _layer(f"layers.{layer}", shape.experts)
    yield "norm.weight", "BF16", (_HIDDEN,)
    yield "head.weight", "BF16", (_VOCABULARY, _HIDDEN)


def _layer(prefix: str, experts: int) -> Iterator[Tensor]:
    yield f"{prefix}.attn_norm.weight", "BF16", (_HIDDEN,)
    yield f"{prefix}.ffn_norm.weight", "BF16", (_HIDDEN,)
    yield f"{prefix}.attn.attn_sink", "F32", (_HEADS,)
    yield f"{prefix}.attn.q_norm.weight", "BF16", (_Q_RANK,)
    yield f"{prefix}.attn.kv_norm.weight", "BF16", (_HEAD_DIM,)
    yield from _fp8(f"{prefix}.attn.wq_a", _Q_RANK, _HIDDEN)
    yield from _fp8(f"{prefix}.attn.wq_b", _HEADS * _HEAD_DIM, _Q_RANK)
    yield from _fp8(f"{prefix}.attn.wkv", _HEAD_DIM, _HIDDEN)
    yield from _fp8(f"{prefix}.attn.wo_b", _HIDDEN, 16_384)
    yield f"{prefix}.ffn.gate.weight", "BF16", (experts, _HIDDEN)
    yield f"{prefix}.ffn.gate.bias", "F32", (experts,)
    for name, rows, cols in _projections():
        yield from _fp8(f"{prefix}.ffn.shared_experts.{name}", rows, cols)
    for expert in range(experts):
        for name, rows, cols in _projections():
            yield from _nvfp4(f"{prefix}.ffn.experts.{expert}.{name}", rows, cols)


def _projections() -> tuple[tuple[str, int, int], ...]:
    return (
        ("w1", _EXPERT, _HIDDEN),
        ("w2", _HIDDEN, _EXPERT),
        ("w3", _EXPERT, _HIDDEN),
    )


def _fp8(module: str, rows: int, cols: int) -> Iterator[Tensor]:
    yield f"{module}.weight", "F8_E4M3", (rows, cols)
    yield f"{module}.scale", "F8_E8M0", (-(-rows // 128), -(-cols // 128))


def _nvfp4(module: str, rows: int, cols: int) -> Iterator[Tensor]:
    yield f"{module}.weight", "U8", (rows, cols // 2)
    yield f"{module}.weight_scale", "F8_E4M3", (rows, cols // 16)
    yield f"{module}.weight_scale_2", "F32", ()
    yield f"{module}.input_scale", "F32", ()


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["DeepseekV4ForCausalLM"],
        "model_type": "deepseek_v4",
        "num_hidden_layers": shape.layers,
        "n_routed_experts": shape.experts,
        "hidden_size": _HIDDEN,
        "moe_intermediate_size": _EXPERT,
        "max_position_embeddings": 1_048_576,
        "quantization_config": {
            "quant_algo": "MIXED_PRECISION",
            "quant_method": "fp8",
            "moe_quant_algo": "NVFP4",
            "expert_dtype": "fp4",
            "group_size": 16,
            "scale_fmt": "ue8m0",
            "weight_block_size": [128, 128],
            "kv_cache_quant_algo": None,
            "ignore": ["*.attn.*", "*.ffn.shared_experts.*", "head", "mtp.*"],
            "activation_scheme": "dynamic",
            "producer": {"name": "modelopt", "version": "dsv4-nvfp4-experts"},
        },
    }
