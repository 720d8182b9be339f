"""Say in an image's manifest for which machine it is, and what it gives the engine.

``python3 -I retarget.py NAME --capability C... --environment NAME...``: run as root,
while the image is built on another of ours. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

MANIFEST = Path("/opt/nvfp4-serve/manifest.json")


def main(arguments: list[str]) -> int:
    """Write the manifest anew; refuse variables that this image does not set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--capability", nargs="+", required=True)
    parser.add_argument("--environment", nargs="+", required=True)
    options = parser.parse_args(arguments)
    if unset := [name for name in options.environment if name not in os.environ]:
        print(f"error: this image does not set {', '.join(unset)}.", file=sys.stderr)
        return 1
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    manifest["target"] = options.target
    manifest["capabilities"] = options.capability
    manifest["environment"] += options.environment
    text = json.dumps(manifest, indent=1, sort_keys=True)
    MANIFEST.write_text(f"{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
