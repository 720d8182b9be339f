"""Checkpoint -> JSON: all that was read of its files, without the files. Pure.

It is what every check and every plan reads: the configs, the names, dtypes and shapes
of all tensors, and what was noticed. Modules that differ in their numbers only are one
line (``numbered``). ``facts`` reads it back.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from nvfp4_serve.checkpoint.numbered import fold_names, parse_names
from nvfp4_serve.checkpoint.types import (
    Checkpoint,
    ModuleGroup,
    ScalePair,
    StoredTensor,
)

#: Raised whenever a field changes its meaning.
FACTS_VERSION: Final = 1

_Tensors: TypeAlias = tuple[StoredTensor, ...]


def facts_text(checkpoint: Checkpoint) -> str:
    """Return ``checkpoint`` as JSON, a line for each row; ``read_facts`` reads it.

    The order of the experts in their files is not kept.
    """
    data = facts_json(checkpoint)
    lines = []
    for key, value in data.items():
        if key == "groups":
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            text = f"[\n{rows}\n  ]"
        elif key in {"config", "hf_quant_config", "sources", "notes"} and value:
            text = json.dumps(value, indent=2).replace("\n", "\n  ")
        else:
            text = json.dumps(value)
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def facts_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return ``checkpoint`` as JSON data."""
    names: defaultdict[_Tensors, list[str]] = defaultdict(list)
    for group in checkpoint.groups:
        names[group.tensors] += group.members
    rows = [
        {
            "modules": pattern,
            "count": parse_names(pattern).count,
            "tensors": {t.suffix: [t.dtype, list(t.shape)] for t in tensors},
        }
        for tensors, members in names.items()
        for pattern in fold_names(members)
    ]
    return {
        "checkpoint_facts": FACTS_VERSION,
        "model": checkpoint.model,
        "folder": checkpoint.folder,
        "revision": checkpoint.revision,
        "constructed": bool(checkpoint.constructed),
        "sources": list(checkpoint.constructed),
        "modules": sum(group.count for group in checkpoint.groups),
        "bytes": bytes_of(checkpoint.groups),
        "config": dict(checkpoint.config),
        "hf_quant_config": checkpoint.hf_quant_config
        and dict(checkpoint.hf_quant_config),
        "groups": sorted(rows, key=lambda row: str(row["modules"])),
        "notes": [msgspec.to_builtins(note) for note in checkpoint.notes],
        "scale_pairs": None
        if checkpoint.scale_pairs is None
        else [_pair(pair) for pair in checkpoint.scale_pairs],
    }


def _pair(pair: ScalePair) -> dict[str, Any]:
    values = {"one": pair.one, "two": pair.two}
    shown = {k: v if math.isfinite(v) else str(v) for k, v in values.items()}
    return {"first": pair.first, "second": pair.second, **shown}


def bytes_of(groups: Iterable[ModuleGroup]) -> int:
    """Return what all modules take."""
    return sum(group.count * t.bytes for group in groups for t in group.tensors)
