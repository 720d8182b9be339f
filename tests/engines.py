"""Where the tests find real engines. The only place that knows."""

import fcntl
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from nvfp4_serve.runtime.engine import find_engine
from nvfp4_serve.runtime.identity import engine_spec
from nvfp4_serve.runtime.types import Engine
from nvfp4_serve.runtime.uv import run_uv

_CACHE: Final = Path(__file__).resolve().parents[1] / ".cache"


@cache
def managed_engine() -> Engine:
    """Return the managed engine of this checkout; skip the test if there is none.

    None at all in CI is a failure: a suite that quietly skips its proofs proves
    nothing.
    """
    engine = find_engine(engine_spec("cpu"))
    if engine is None:
        say = "the managed engine is not installed: `make engine` installs it"
        if os.environ.get("CI"):
            pytest.fail(say)
        pytest.skip(say)
    return engine


def engine_python() -> Path:
    """Return the Python of the managed engine, which has our patched vLLM."""
    return managed_engine().python


@cache
def pristine_python() -> Path:
    """Return the Python of an engine with vLLM as it was published.

    All but vLLM and our plugin is the managed engine's own, file for file.
    """
    engine = managed_engine()
    folder = _CACHE / f"pristine-{engine.id}"
    _CACHE.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            scratch = folder.with_suffix(".partial")
            shutil.rmtree(scratch, ignore_errors=True)
            _make_pristine(engine, scratch)
            scratch.rename(folder)
    return folder / "bin" / "python"


def _make_pristine(engine: Engine, folder: Path) -> None:
    shutil.copytree(engine.folder, folder, symlinks=True, copy_function=_link)
    (site,) = folder.glob("lib/python3.*/site-packages")
    ours = list(site.glob("nvfp4_serve_engine*"))
    assert ours
    for path in ours:
        shutil.rmtree(path)
    spec = engine_spec("cpu")
    published = _only(spec.distribution, spec.requirements, folder)
    words = ("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"))
    again = ("--no-deps", "--reinstall-package", spec.distribution)
    pinned = ("--require-hashes", "-r", str(published))
    run_uv("installing vLLM as published", (*words, *again, *pinned), _CACHE)


def _only(name: str, requirements: Path, folder: Path) -> Path:
    """Write the lines that pin ``name`` into a list of their own."""
    lines = requirements.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next(i for i in range(start + 1, len(lines)) if lines[i][:1].strip())
    path = folder / "published.txt"
    path.write_text("\n".join(lines[start:end]) + "\n")
    return path


def _link(source: str, target: str) -> None:
    """Share a file, where both are on one file system; nobody writes into it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
