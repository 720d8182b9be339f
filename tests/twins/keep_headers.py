"""Write the headers and configs of real exports to tests/data/headers.

Run ``python -m twins.keep_headers`` in ``tests``, after ``make setup``. It makes the
exports with their real producers where they are missing.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Final

from twins import specimens_of_layouts as made
from twins.environments import ROOT
from twins.exports import Export, make_exports

_KEPT: Final[dict[str, Export]] = {
    "modelopt-0.37.0-compressed-export": made.QWEN3_MOE_COMPRESSED_EXPORT,
    "modelopt-0.37.0-state-dict": made.QWEN3_MOE_STATE_DICT,
    "modelopt-0.43.0-qwen3-vl-moe": made.QWEN3_VL_MOE_0_43,
    "modelopt-0.47.0-deepseek-v3": made.DEEPSEEK_V3,
    "modelopt-0.47.0-gemma-4": made.GEMMA4,
    "modelopt-0.47.0-gpt-oss": made.GPT_OSS,
    "modelopt-0.47.0-llama-4": made.LLAMA4_VISION,
    "modelopt-0.47.0-minimax-m2": made.MINIMAX_M2,
    "modelopt-0.47.0-nemotron-h": made.NEMOTRON_H,
    "modelopt-0.47.0-qwen3.5-moe": made.QWEN3_5_MOE,
    "llm-compressor-0.14.0.1-nvfp4": made.QWEN3_MOE_CT,
    "llm-compressor-0.14.0.1-nvfp4a16": made.QWEN3_MOE_CT_A16,
}


def main() -> int:
    """Write them all."""
    make_exports(_KEPT.values())
    for name, export in _KEPT.items():
        _keep(export.folder, ROOT / "tests" / "data" / "headers" / name)
    return 0


def _keep(folder: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for config in ("config.json", "hf_quant_config.json"):
        if (folder / config).exists():
            shutil.copy(folder / config, kept)
    with (folder / "model.safetensors").open("rb") as shard:
        length = int.from_bytes(shard.read(8), "little")
        header = json.loads(shard.read(length))
    lines = (f"{json.dumps(n)}: {json.dumps(e)}" for n, e in header.items())
    (kept / "model.header.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.exit(main())
