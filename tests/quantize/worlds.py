"""What the tests of `quantize` share: a wish, and a stand-in for the quantizer."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from nvfp4_serve.quantize.types import Wish

STAND_IN: Final = (
    sys.executable,
    "-I",
    str(Path(__file__).with_name("stand_in_quantizer.py")),
)
_LAYER: Final = "model.layers.0"
#: Every module of ``checkpoint.builders.modelopt_moe`` that is NVFP4.
MEANT: Final = (
    *(f"{_LAYER}.self_attn.{name}_proj" for name in "qkvo"),
    *(
        f"{_LAYER}.mlp.experts.{expert}.{name}_proj"
        for expert in range(3)
        for name in ("gate", "up", "down")
    ),
)
#: What marks the folder of a run as ours.
MARK: Final = ".nvfp4-serve-quantize"
HELLO: Final = '{"event": "hello", "protocol": 1}'
DONE: Final = '{"event": "done"}'


def wish_of(folder: Path, **changes: Any) -> Wish:
    """Return what a user would ask, for a new checkpoint in ``folder``."""
    wish = Wish(
        model=str(folder / "plain"),
        out=folder / "out",
        recipe="W4A16_NVFP4_CFG",
        kv_cache=None,
        calibration=None,
        calib_samples=8,
        calib_length=64,
        dtype="bfloat16",
        revision=None,
        trust_remote_code=False,
    )
    return dataclasses.replace(wish, **changes)


def meant_line(names: Sequence[str] = MEANT, *, inputs: bool = True) -> str:
    """Return the answer that says what the recipe means to quantize."""
    modules = [{"name": name, "inputs": inputs} for name in names]
    return json.dumps({"event": "meant", "modules": modules})


def set_stand_in(
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path | None,
    *say: str,
    then: str = "end",
    mkdir: Path | None = None,
) -> None:
    """Tell the stand-in what to write, what to say, and what to do at last."""
    told = {
        "checkpoint": checkpoint and str(checkpoint),
        "say": say,
        "then": then,
        "mkdir": mkdir and str(mkdir),
    }
    monkeypatch.setenv("STAND_IN", json.dumps(told))
