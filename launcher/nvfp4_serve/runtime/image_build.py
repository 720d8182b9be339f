"""Build the image for a machine, from the checkout that the launcher runs from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.types import Host
from nvfp4_serve.runtime.types import Say

#: What images/docker-bake.hcl calls the image of a checkout.
_NAME: Final = "nvfp4-serve:dev-"
_TARGETS: Final = {
    ("12.1", "aarch64"): "gb10",
    ("12.0", "x86_64"): "rtx-pro",
    ("10.3", "x86_64"): "b300",
    ("10.3", "aarch64"): "gb300",
}


def target_for(host: Host) -> str:
    """Return which of our images is made for ``host``."""
    kinds = {capability_text(gpu.compute_capability) for gpu in host.gpus}
    if not kinds:
        return "cpu"
    alike = kinds.pop() if len(kinds) == 1 else ""
    return _TARGETS.get((alike, host.architecture), "base")


def build_image(host: Host, address: str, folder: Path | None, say: Say) -> str:
    """Build the image for ``host`` and return its name.

    Args:
        host: The machine.
        address: Of the container engine that is to have it.
        folder: ``images`` of the checkout; None: there is no checkout.
        say: Takes a line for people.

    Raises:
        EngineError: There is nothing to build from, or the build failed.
    """
    if folder is None:
        raise EngineError(
            "`--build` needs a checkout of nvfp4-serve; this launcher is installed "
            "without one.",
            fix="Run it from a checkout (`make setup`), or name an image: `--image`.",
        )
    target = target_for(host)
    say(f"building the image {_NAME}{target}")
    done = subprocess.run(  # noqa: S603 - an argument list, no shell
        [sys.executable, folder / "build.py", target],
        env={**os.environ, "DOCKER_HOST": address},
        stdin=subprocess.DEVNULL,
        # Ours is for the address; what a build says is not data.
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        raise EngineError(
            f"The image `{target}` could not be built; the lines above say why.",
            evidence=(f"`images/build.py {target}` ended with {done.returncode}",),
            fix="Mend that, or name an image that is there: `--image`.",
        )
    return f"{_NAME}{target}"
