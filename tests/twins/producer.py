"""Twins of Qwen3 that the real ModelOpt makes, one export for each description."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from twins.environments import CACHE, MODELOPT_0_47, ROOT, digest, made_once

__all__ = ("CACHE", "ROOT", "Twin", "make_twins", "producer_python")

_MAKER: Final = Path(__file__).parent / "make_twins.py"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A tiny checkpoint of a real architecture, as ModelOpt is to export it.

    The defaults keep all widths distinct, and give experts two-digit names: a
    loader that sorts 10 before 2 is then wrong.
    """

    architecture: Literal["Qwen3ForCausalLM", "Qwen3MoeForCausalLM"]
    scheme: Literal["NVFP4", "W4A16_NVFP4"] = "NVFP4"
    kv_cache: Literal["FP8"] | None = None
    seed: int = 1
    layers: int = 3
    hidden: int = 160
    feed_forward: int = 224
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    experts: int = 12
    experts_per_token: int = 2
    vocabulary: int = 288


def make_twins(twins: Iterable[Twin]) -> dict[Twin, Path]:
    """Return the folder of a fresh export of each twin; the same twin is made once.

    All that are missing are made in one process: its imports take longer than they.
    """
    folders = {twin: _folder(twin) for twin in twins}
    with contextlib.ExitStack() as stack:
        # In one order everywhere, so that two sessions cannot wait for each other.
        todo = [
            (str(scratch), dataclasses.asdict(twin))
            for twin, folder in sorted(folders.items(), key=lambda item: item[1])
            if (scratch := stack.enter_context(made_once(folder))) is not None
        ]
        if todo:
            command: list[str | Path] = [producer_python(), _MAKER, json.dumps(todo)]
            subprocess.run(command, check=True, stdout=sys.stderr)
    return folders


def _folder(twin: Twin) -> Path:
    arguments = json.dumps(dataclasses.asdict(twin), sort_keys=True).encode()
    identity = MODELOPT_0_47.identity.encode()
    return CACHE / "twins" / digest(_MAKER.read_bytes(), arguments, identity)


def producer_python() -> Path:
    """Return the Python of the producer's environment; make it if it is missing."""
    return MODELOPT_0_47.python
