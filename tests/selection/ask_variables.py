"""Print the variables that this vLLM reads, as JSON; for the engine's Python."""

from __future__ import annotations

import json

import vllm.envs
from vllm.version import __version__

NAMES = sorted(name for name in vllm.envs.environment_variables if "VLLM_" in name)

print(  # noqa: T201
    json.dumps({"vllm": __version__.partition("+")[0], "names": NAMES}, indent=1)
)
