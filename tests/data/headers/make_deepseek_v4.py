"""Write the constructed header of a DeepSeek-V4 with NVFP4 experts.

    python tests/data/headers/make_deepseek_v4.py

No export is at hand: names, dtypes, ratios of the shapes and the config are those of
canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP, from the script that made it
(``convert_v4_pro_mxfp4_to_nvfp4.py``); layers, experts and sides are small.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from nvfp4_serve.checkpoint.header import Dtype

HIDDEN, EXPERT, EXPERTS, LAYERS = 256, 128, 3, 2
ITEM = {"F32": 4, "BF16": 2, "F8_E8M0": 1, "F8_E4M3": 1, "U8": 1, "I8": 1}
PROJECTIONS = (("w1", EXPERT, HIDDEN), ("w2", HIDDEN, EXPERT), ("w3", EXPERT, HIDDEN))
CONFIG = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "model_type": "deepseek_v4",
    "num_hidden_layers": LAYERS,
    "num_nextn_predict_layers": 1,
    "n_routed_experts": EXPERTS,
    "hidden_size": HIDDEN,
    "moe_intermediate_size": EXPERT,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "compress_ratios": [4, 128],
    "max_position_embeddings": 1024,
    "expert_dtype": "fp4",
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "scale_fmt": "ue8m0",
        "weight_block_size": [128, 128],
        "moe_quant_algo": "NVFP4",
    },
}

Tensor = tuple[str, Dtype, tuple[int, ...]]


def fp8(module: str, rows: int, cols: int) -> Iterator[Tensor]:
    yield f"{module}.weight", "F8_E4M3", (rows, cols)
    yield f"{module}.scale", "F8_E8M0", (-(-rows // 128), -(-cols // 128))


def nvfp4(module: str, rows: int, cols: int) -> Iterator[Tensor]:
    yield f"{module}.weight", "U8", (rows, cols // 2)
    yield f"{module}.scale", "F8_E4M3", (rows, cols // 16)
    yield f"{module}.weight_scale_2", "F32", (1,)
    yield f"{module}.input_scale", "F32", (1,)


def mxfp4(module: str, rows: int, cols: int) -> Iterator[Tensor]:
    yield f"{module}.weight", "I8", (rows, cols // 2)
    yield f"{module}.scale", "F8_E8M0", (rows, cols // 32)


def layer(prefix: str, *, native: bool) -> Iterator[Tensor]:
    yield f"{prefix}.attn_norm.weight", "BF16", (HIDDEN,)
    yield f"{prefix}.ffn_norm.weight", "BF16", (HIDDEN,)
    yield f"{prefix}.attn.attn_sink", "F32", (4,)
    yield from fp8(f"{prefix}.attn.wq_a", 128, HIDDEN)
    yield from fp8(f"{prefix}.attn.wkv", 64, HIDDEN)
    yield f"{prefix}.ffn.gate.weight", "BF16", (EXPERTS, HIDDEN)
    for name, rows, cols in PROJECTIONS:
        yield from fp8(f"{prefix}.ffn.shared_experts.{name}", rows, cols)
        for expert in range(EXPERTS):
            packed = mxfp4 if native else nvfp4
            yield from packed(f"{prefix}.ffn.experts.{expert}.{name}", rows, cols)


def tensors() -> Iterator[Tensor]:
    yield "embed.weight", "BF16", (512, HIDDEN)
    for number in range(LAYERS):
        yield from layer(f"layers.{number}", native=False)
    yield "norm.weight", "BF16", (HIDDEN,)
    yield "head.weight", "BF16", (512, HIDDEN)
    yield from layer("mtp.0", native=True)
    yield from fp8("mtp.0.e_proj", HIDDEN, HIDDEN)
    yield from fp8("mtp.0.h_proj", HIDDEN, HIDDEN)


def main() -> None:
    folder = Path(__file__).parent / "constructed-deepseek-v4-nvfp4-mxfp4-mtp"
    folder.mkdir(exist_ok=True)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    cursor = 0
    for name, dtype, shape in tensors():
        end = cursor + ITEM[dtype] * math.prod(shape)
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": (cursor, end),
        }
        cursor = end
    (folder / "model.header.json").write_text(json.dumps(header))
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


if __name__ == "__main__":
    main()
