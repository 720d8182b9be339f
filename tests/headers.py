"""The headers of real exports, as checkpoints whose weights are holes in a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from checkpoint.builders import write_shard

HEADERS: Final = Path(__file__).parent / "data" / "headers"


def export_config(name: str) -> dict[str, Any]:
    """Return the config.json of an export."""
    config: dict[str, Any] = json.loads((HEADERS / name / "config.json").read_text())
    return config


def write_export(name: str, folder: Path, config: Mapping[str, Any]) -> Path:
    """Write the header of an export into ``folder``, and ``config`` beside it."""
    header = (HEADERS / name / "model.header.json").read_bytes()
    tensors = json.loads(header)
    tensors.pop("__metadata__", None)
    body = max(tensor["data_offsets"][1] for tensor in tensors.values())
    write_shard(folder / "model.safetensors", header, body)
    (folder / "config.json").write_text(json.dumps(config))
    return folder
