"""``nvfp4-serve-engine MODEL [FLAG...]``: vLLM's own server, after a look at its files.

For whoever has a plan already: the launcher outside, or a cluster. It takes what
``vllm serve`` takes, and becomes that process.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from nvfp4_serve.cli.main import print_error
from nvfp4_serve.errors import EngineError, ServeError
from nvfp4_serve.resources import data_folder
from nvfp4_serve.runtime.image import image_command, read_image, verify_image


def main() -> NoReturn:
    """Verify the engine and become it; or end with what is wrong."""
    try:
        image = read_image()
        if image is None:
            raise EngineError(
                "This is no image of nvfp4-serve: it has no manifest.",
                fix="Build it with images/docker-bake.hcl.",
            )
        verify_image(image, data_folder("patches") / "series.py")
    except ServeError as error:
        print_error(error)
        sys.exit(error.exit_code)
    command = (*image_command(image), *sys.argv[1:])
    os.execv(command[0], command)  # noqa: S606 - an argument list of the image's own
