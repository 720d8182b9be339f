"""Build images with the Docker that this shell reaches: ``build.py TARGET...``.

What docker-bake.hcl needs and cannot know is put together here: the launcher's wheel,
the pins, and what pip is told on this machine. Every image is built for this machine's
own processor and loaded into its Docker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from local_packages import handed_over
from pins import PinError, variables

ROOT: Final = Path(__file__).resolve().parent.parent
BUILD: Final = ROOT / "build"
TARGETS: Final = ("cpu", "base", "gb10", "b300", "gb300", "rtx-pro")
_PLATFORMS: Final = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


def build(
    targets: Sequence[str],
    *,
    stand_ins: Mapping[str, str] = MappingProxyType({}),
    settings: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """Build ``targets`` and load them into Docker.

    Args:
        targets: Of docker-bake.hcl.
        stand_ins: Images to build from in place of a pinned one, by its name.
        settings: Variables of docker-bake.hcl, ``NAME=value``.
        environment: Of the client, where it is not this process's own.

    Raises:
        PinError: Something that is needed is not resolved.
        subprocess.CalledProcessError: The build failed, and has said why.
    """
    chosen = variables(list(targets), dict(stand_ins), release=False)
    chosen["NETWORK"] = "host"
    chosen |= dict(setting.split("=", 1) for setting in settings)
    make_wheel()
    pins = BUILD / "pins.json"
    named = {name: {"default": value} for name, value in chosen.items()}
    pins.write_text(json.dumps({"variable": named}, indent=1))
    given = dict(os.environ if environment is None else environment)
    with tempfile.TemporaryDirectory() as name, handed_over(Path(name)) as secrets:
        words = ["docker", "buildx", "bake", "--load", "--allow=network.host"]
        words += ["-f", "images/docker-bake.hcl", "-f", str(pins)]
        words += ["--set", f"*.platform={_PLATFORMS[platform.machine()]}"]
        for identity, path in secrets.items():
            words += ["--set", f"*.secrets=id={identity},src={path}"]
            words += [f"--allow=fs.read={path}"]
        subprocess.run([*words, *targets], cwd=ROOT, env=given, check=True)


def make_wheel() -> None:
    """Make the launcher's wheel, the only one in build/wheel."""
    shutil.rmtree(BUILD / "wheel", ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    words = [*pip, "--no-build-isolation", "--wheel-dir", str(BUILD / "wheel"), "."]
    subprocess.run(words, cwd=ROOT, check=True)


def main(arguments: list[str]) -> int:
    """Build what is named; everything where nothing is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    if any("=" not in setting for setting in options.set):
        parser.error("`--set` takes NAME=VALUE")
    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    try:
        build(options.targets or TARGETS, settings=options.set)
    except PinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
