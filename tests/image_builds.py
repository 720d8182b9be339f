"""``python -m image_builds [TARGET...]``: build here what can be built here.

What is pinned is used. What is not resolved gets a stand-in, and that is said: such an
image shows that it builds, and is not for use. The engine that DOCKER_HOST names keeps
what was built; where none is named, root gets a private one, and it goes in the end.
"""

import os
import subprocess
import sys

import docker_session
from build import TARGETS
from pins import read_pins


def main(arguments: list[str]) -> int:
    """Build ``arguments``, or everything; print the sizes."""
    targets = arguments or list(TARGETS)
    if unknown := sorted(set(targets) - set(TARGETS)):
        _say(f"error: there is no target {', '.join(unknown)}")
        _say(f"hint: there are {', '.join(TARGETS)}")
        return 2
    if reason := docker_session.missing():
        _say(f"error: no image can be built here: {reason}")
        return 1
    pins = read_pins()["image"]
    stand_ins = {
        name: image
        for name, image in docker_session.STAND_INS.items()
        if "digest" not in pins[name]
    }
    for name, image in stand_ins.items():
        _say(f"{name} is not resolved (`make pins`); `{image}` takes its place")
    with docker_session.session(os.environ.get("DOCKER_HOST")) as docker:
        try:
            docker_session.build_images(docker, targets, stand_ins=stand_ins)
        except subprocess.CalledProcessError as error:
            return error.returncode
        sys.stdout.write(docker.run("image", "ls", "nvfp4-serve"))
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
