"""Write ``recipes/auto/`` from what the engine's own selection code answers.

And, beside the flags, the variables that it reads.

Run from ``tests``: ``python -m selection.make``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from engines import engine_python
from nvfp4_serve.resources import VLLM_VERSION

_HERE: Final = Path(__file__).resolve().parent
RECORDED: Final = _HERE.parents[1] / "recipes" / "auto" / f"vllm-{VLLM_VERSION}.json"
VARIABLES: Final = RECORDED.parents[1] / "flags" / f"env-{RECORDED.name}"
_TABLES: Final = ("moe", "mxfp4_moe", "plain_moe", "linear", "attention")


def table_text(python: Path) -> str:
    """Return the table that the engine of ``python`` gives, one row a line."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.json"
        subprocess.run([python, _HERE / "ask.py", answers], check=True, cwd=folder)
        told = json.loads(answers.read_text())
    lines = [
        f' "vllm": {json.dumps(told["vllm"])}',
        f' "stands_in": {json.dumps(told["stands_in"], indent=2)}',
        f' "asked": {json.dumps(told["asked"], indent=2)}',
    ]
    for name in _TABLES:
        rows = ",\n".join(f"  {json.dumps(row)}" for row in _together(told[name]))
        lines.append(f' "{name}": [\n{rows}\n ]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def variables_text(python: Path) -> str:
    """Return the list of the variables that the engine of ``python`` reads."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, _HERE / "ask_variables.py"],
            check=True,
            cwd=folder,
            capture_output=True,
            text=True,
        )
    return done.stdout


def _together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, those that differ in the capability only as one."""
    alike: dict[str, list[int]] = {}
    for row in rows:
        rest = {key: value for key, value in row.items() if key != "capability"}
        alike.setdefault(json.dumps(rest), []).append(row["capability"])
    return [
        {"capabilities": capabilities, **json.loads(rest)}
        for rest, capabilities in alike.items()
    ]


if __name__ == "__main__":
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(table_text(engine_python()))
    VARIABLES.write_text(variables_text(engine_python()))
    sys.stderr.write(f"{RECORDED.name}, {VARIABLES.name}: written\n")
