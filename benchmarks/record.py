"""Write a benchmark's result with the facts of the machine that gave it."""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nvfp4_serve import __version__
from nvfp4_serve.host import detect_host, facts_json

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write ``results/<name>.json``."""
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "nvfp4_serve": __version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "host": facts_json(detect_host()),
        **result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
