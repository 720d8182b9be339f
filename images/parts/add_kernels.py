"""Add optional kernels to an image: ``add_kernels.py none|b12x REQUIREMENTS``.

Run as root, while the image is built. The image's own uv is used: it heeds the image's
list of versions that must not change (UV_OVERRIDE), which pip would not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# ``-I`` leaves these out of the path; ``unpack.py`` has put the launcher there.
sys.path[:0] = [str(Path(__file__).resolve().parent), "/opt/nvfp4-serve/launcher"]

from needs import unmet
from nvfp4_serve.runtime.pip_settings import read_pip_settings

#: What pip is told on the machine that builds, where it is told anything.
PIP_CONFIG = "/run/secrets/pip"


def main(arguments: list[str]) -> int:
    """Install what the list of that name pins, and nothing that it asks for."""
    kernels, folder = arguments
    if kernels == "none":
        return 0
    pinned = ["--no-deps", "--require-hashes", "--no-cache"]
    # Debian and Ubuntu mark their Python as apt's own; this image is not a machine.
    here = ["--python", sys.executable, "--break-system-packages"]
    listed = ["-r", f"{folder}/image-{kernels}.txt"]
    places = read_pip_settings({"PIP_CONFIG_FILE": PIP_CONFIG})
    done = subprocess.run(
        ["uv", "pip", "install", *here, *pinned, *listed],
        env={**os.environ, **places},
        check=False,
    )
    if done.returncode:
        return done.returncode
    if wrong := unmet(kernels):
        print(f"error: The image's packages do not do for {kernels}.", file=sys.stderr)
        print("\n".join(f"  {line}" for line in wrong), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
