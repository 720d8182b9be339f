"""Add optional kernels to an image: ``add_kernels.py none|b12x REQUIREMENTS``.

Run as root, while the image is built. The image's own uv is used: it heeds the image's
list of versions that must not change (UV_OVERRIDE), which pip would not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# ``-I`` leaves the script's folder out of the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from needs import unmet

SECRETS = Path("/run/secrets")


def main(arguments: list[str]) -> int:
    """Install what the list of that name pins, and nothing that it asks for."""
    kernels, folder = arguments
    if kernels == "none":
        return 0
    pinned = ["--no-deps", "--require-hashes", "--no-cache"]
    listed = ["-r", f"{folder}/image-{kernels}.txt"]
    words = ["uv", "pip", "install", "--python", sys.executable, *_certificates()]
    done = subprocess.run([*words, *_system(), *pinned, *listed], check=False)
    if done.returncode:
        return done.returncode
    if wrong := unmet(kernels):
        print(f"error: The image's packages do not do for {kernels}.", file=sys.stderr)
        print("\n".join(f"  {line}" for line in wrong), file=sys.stderr)
        return 1
    return 0


def _system() -> list[str]:
    # Debian and Ubuntu mark their Python as managed by apt; an image is no machine.
    return ["--break-system-packages"] if sys.prefix == sys.base_prefix else []


def _certificates() -> list[str]:
    return ["--system-certs"] if (SECRETS / "ca").exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
