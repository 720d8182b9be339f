"""Print the variables that this vLLM reads, as JSON; for the engine's Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import vllm.envs
from vllm.version import __version__

#: Some modules read a variable of their own, past ``vllm/envs.py``.
READ = re.compile(
    r"""(?:os\.environ\.get\(|os\.getenv\()\s*["'](VLLM_[A-Z0-9_]+)["']"""
    r"""|["'](VLLM_[A-Z0-9_]+)["'] (?:not )?in os\.environ"""
)

ELSEWHERE = {
    first or second
    for file in Path(vllm.envs.__file__).parent.rglob("*.py")
    for first, second in READ.findall(file.read_text(encoding="utf-8"))
}
NAMES = sorted(
    {name for name in vllm.envs.environment_variables if "VLLM_" in name} | ELSEWHERE
)

print(  # noqa: T201
    json.dumps({"vllm": __version__.partition("+")[0], "names": NAMES}, indent=1)
)
