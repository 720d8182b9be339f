"""Resolve the pins of the images, and hand them to a build.

usage: pins.py resolve                      ask the registries; write pins.toml
       pins.py bake TARGET... [--stand-in IMAGE=NAME]... [--release]
                                            print the variables of docker-bake.hcl
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from registry import RegistryError, UnreachableError, read_index

HERE: Final = Path(__file__).resolve().parent
PINS: Final = HERE / "pins.toml"
DEBIAN: Final = "debian:bookworm-slim"
SCANNER: Final = "docker/buildkit-syft-scanner:stable-1"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SERIES: Final = HERE.parent / "patches" / "series.py"


class PinError(Exception):
    """A pin cannot be used or resolved; the message says what to do."""


def read_pins(path: Path = PINS) -> dict[str, Any]:
    """Return the pins.

    Raises:
        PinError: A digest is none.
    """
    pins = tomllib.loads(path.read_text(encoding="utf-8"))
    wrong = [
        f"{name}: `{image['digest']}` is no digest"
        for name, image in pins["image"].items()
        if "digest" in image and not _DIGEST.fullmatch(image["digest"])
    ]
    if wrong:
        raise PinError(f"{path.name} is wrong:\n  " + "\n  ".join(wrong))
    return pins


def resolve(path: Path, today: dt.date) -> list[str]:
    """Ask for every tag, write what was answered into ``path``; return what changed.

    Nothing is written unless every registry has answered.

    Raises:
        PinError: A tag cannot be resolved, or lacks a platform.
    """
    text, said, wrong = path.read_text(encoding="utf-8"), [], []
    for name, image in read_pins(path)["image"].items():
        repository, _, tag = name.rpartition(":")
        try:
            index = read_index(repository, tag)
        except UnreachableError as error:
            raise PinError(
                f"{name} is not resolved, and nothing was written: {error}\n"
                "fix: Run it where the registry can be reached."
            ) from error
        except RegistryError as error:
            wrong.append(f"{name}: {error}")
            continue
        if missing := sorted(set(image["platforms"]) - set(index.platforms)):
            wrong.append(f"{name}: {index.digest} has no {', '.join(missing)}")
            continue
        text = _write(text, name, index.digest, today)
        before = image.get("digest")
        change = "unchanged" if before == index.digest else f"was {before}"
        said.append(f"{name}@{index.digest} ({change})")
    if wrong:
        raise PinError("Not resolved, nothing written:\n  " + "\n  ".join(wrong))
    path.write_text(text, encoding="utf-8")
    return said


def _write(text: str, name: str, digest: str, today: dt.date) -> str:
    """Return ``text`` with the answer for ``name``; the rest is left as it is."""
    head = f'[image."{name}"]\n'
    before, found, after = text.partition(head)
    section, gap, rest = after.partition("\n\n")
    kept = [
        line
        for line in section.splitlines()
        if not re.match(r"(digest|resolved|source) *=", line)
    ]
    answer = [f'digest = "{digest}"', f"resolved = {today}", 'source = "the registry"']
    return before + found + "\n".join([*kept, *answer]) + gap + rest


def reference(pins: dict[str, Any], name: str) -> str:
    """Return ``name@sha256:...``.

    Raises:
        PinError: It is not resolved.
    """
    digest = pins["image"][name].get("digest")
    if digest is None:
        raise PinError(
            f"{name} has no digest in images/pins.toml, and nothing is built from a "
            "tag.\nfix: `make pins` asks the registry for it, where there is a network."
        )
    return f"{name}@{digest}"


def variables(
    targets: list[str], stand_ins: dict[str, str], *, release: bool
) -> dict[str, str]:
    """Return the variables of docker-bake.hcl for ``targets``.

    Args:
        targets: What is to be built.
        stand_ins: Images to build from in place of a pinned one, by its name.
        release: With provenance and a list of what is inside.

    Raises:
        PinError: Something that is needed is not resolved.
    """
    pins, version = read_pins(), vllm_version()
    vllm = f"vllm/vllm-openai:v{version}"
    found = {"VLLM_VERSION": version, "CUDA": pins["image"][vllm]["cuda"]}
    found |= pins["debian"] | {"PATCHES": _patches(version)}
    needed = {"DEBIAN": DEBIAN} if "cpu" in targets else {}
    needed |= {"BASE": vllm} if set(targets) - {"cpu"} else {}
    needed |= {"SCANNER": SCANNER} if release else {}
    for variable, name in needed.items():
        found[variable] = stand_ins.get(name) or reference(pins, name)
    return found


def vllm_version() -> str:
    """Return the version of vLLM that the launcher is for."""
    path = HERE.parent / "launcher" / "nvfp4_serve" / "resources.py"
    found = re.search(r'^VLLM_VERSION.*"([\d.]+)"$', path.read_text(), re.MULTILINE)
    if found is None:
        raise PinError(f"{path} does not say for which vLLM it is.")
    return found[1]


def _patches(version: str) -> str:
    words = [sys.executable, "-I", str(_SERIES), "digest", "--vllm", version]
    return subprocess.run(words, stdout=-1, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    """Run one verb."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if any("=" not in pair for pair in getattr(options, "stand_in", ())):
        parser.error("`--stand-in` takes IMAGE=NAME")
    try:
        if options.verb == "resolve":
            today = dt.datetime.now(dt.UTC).date()
            print("\n".join(resolve(PINS, today)))
            return 0
        stand_ins = dict(pair.split("=", 1) for pair in options.stand_in)
        found = variables(options.targets, stand_ins, release=options.release)
    except PinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    named = {name: {"default": value} for name, value in found.items()}
    print(json.dumps({"variable": named}, indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(usage=__doc__)
    verbs = parser.add_subparsers(required=True, dest="verb")
    verbs.add_parser("resolve")
    bake = verbs.add_parser("bake")
    bake.add_argument("targets", nargs="+")
    bake.add_argument("--stand-in", action="append", default=[], metavar="IMAGE=NAME")
    bake.add_argument("--release", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
