"""Makes a managed environment: all of it, or nothing."""

import dataclasses
import datetime as dt
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nvfp4_serve.errors import EngineError, PatchError
from nvfp4_serve.runtime.folders import (
    clear_left_over,
    identity_of,
    lock_of,
    partial_of,
    remove_folder,
    take_away,
)
from nvfp4_serve.runtime.identity import platform_name, python_version
from nvfp4_serve.runtime.lock import exclusive
from nvfp4_serve.runtime.manifest import (
    has_python,
    read_engine,
    read_packages,
    read_torch_cuda,
    read_torch_record,
    write_manifest,
)
from nvfp4_serve.runtime.places import unusable
from nvfp4_serve.runtime.types import Engine, EngineSpec, Say
from nvfp4_serve.runtime.uv import install_torch, run_python, run_series, run_uv
from nvfp4_serve.units import format_bytes


def install(
    spec: EngineSpec, identity: str, patch_digest: str, engines: Path, say: Say
) -> Engine:
    """Return the engine ``identity`` in the folder ``engines``; make it if need be.

    It is made in ``<identity>.partial`` under a lock, and renamed when it is complete
    and on disk, so that a half-made one is never taken for an engine. One whose Python
    has gone makes way for a new one.

    Raises:
        EngineError: It cannot be made; nothing of it is left.
        PatchError: Our patches do not fit what was installed; nothing of it is left.
    """
    waiting_for = f"another installation of {identity}"
    try:
        engines.mkdir(parents=True, exist_ok=True)
        with exclusive(lock_of(engines, identity), waiting_for=waiting_for, say=say):
            folder = engines / identity
            engine = read_engine(folder)
            if engine and has_python(engine):
                return engine
            if engine:
                say(f"the Python of the engine {identity} has gone; making it again")
                take_away(folder, say)
            clear_left_over(engines, say)
            return _install(spec, folder, patch_digest, say)
    except OSError as error:
        so = f"The {spec.noun} was not installed:"
        raise unusable(error, engines, "XDG_DATA_HOME", so=so) from error


def _install(spec: EngineSpec, folder: Path, patch_digest: str, say: Say) -> Engine:
    partial = partial_of(folder)
    remove_folder(partial)  # What a killed installation left.
    _check_free_space(spec, folder.parent)
    say(
        f"installing the {spec.noun} {spec.distribution} {spec.version} into "
        f"`{folder}` ({format_bytes(spec.installed_bytes)})"
    )
    try:
        made = _make(spec, patch_digest, partial, say)
        os.sync()  # A crash must not leave a named engine with unwritten files.
        partial.rename(folder)
        _sync_folder(folder.parent)
    finally:
        remove_folder(partial)
    say(f"the {spec.noun} is complete ({format_bytes(made.installed_bytes)})")
    return dataclasses.replace(made, folder=folder)


def _make(spec: EngineSpec, patch_digest: str, folder: Path, say: Say) -> Engine:
    site = folder / "lib" / f"python{python_version()}" / "site-packages"
    steps: list[tuple[str, Callable[[], None]]] = [
        ("environment", lambda: _make_environment(spec, folder)),
        (
            f"{spec.distribution} {spec.version}",
            lambda: _install_packages(spec, folder),
        ),
        ("patches", lambda: _patch(spec, site)),
        (f"import {spec.smoke}", lambda: _smoke(spec, folder)),
    ]
    if spec.torch:
        torch, noun = spec.torch, spec.noun
        steps.insert(
            1,
            (f"torch {torch} (CPU build)", lambda: install_torch(torch, folder, noun)),
        )
    for number, (name, step) in enumerate(steps, 1):
        say(f"  {number}/{len(steps)} {name}")
        start = time.monotonic()
        step()
        say(f"      {time.monotonic() - start:.1f} s")
    return _describe(spec, patch_digest, folder, site)


def _make_environment(spec: EngineSpec, folder: Path) -> None:
    words = ("venv", "--relocatable", "--python", sys.executable, str(folder))
    run_uv("making the environment", words, folder.parent, spec.noun)


def _install_packages(spec: EngineSpec, folder: Path) -> None:
    pinned = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
    python = ("--python", str(folder / "bin" / "python"))
    run_uv(
        f"installing {spec.distribution} {spec.version}",
        ("pip", "install", *pinned, *python, "-r", str(spec.requirements)),
        folder,
        spec.noun,
    )


def _patch(spec: EngineSpec, site: Path) -> None:
    for action in ("apply", "verify"):
        status, words = run_series(spec.series, action, site)
        if status:
            raise PatchError(
                f"The {spec.noun} was not installed: our patches cannot be applied."
                if action == "apply"
                else f"The {spec.noun} was not installed: its patched files are not "
                "right.",
                evidence=tuple(words.strip().splitlines()[-8:]),
                fix="Install nvfp4-serve again; its patches and its pinned versions "
                "belong together.",
            )


def _smoke(spec: EngineSpec, folder: Path) -> None:
    """Import what will serve; this leaves the byte code that a first start needs."""
    status, words = run_python(folder / "bin" / "python", f"import {spec.smoke}")
    if status:
        raise EngineError(
            f"The {spec.noun} was not installed: it cannot import `{spec.smoke}`.",
            evidence=tuple(words.strip().splitlines()[-5:]),
            fix="A missing `lib….so` is a system library: install it. Anything else "
            "is a bug to report.",
        )


def _describe(spec: EngineSpec, patch_digest: str, folder: Path, site: Path) -> Engine:
    packages = read_packages(site)
    if packages.get(spec.distribution) != spec.version:
        raise EngineError(
            f"The {spec.noun} was not installed: {spec.distribution} {spec.version} is "
            f"not in it (found {packages.get(spec.distribution)}).",
            fix="Install nvfp4-serve again; its list of packages is damaged.",
        )
    torch = packages["torch"]
    cuda = read_torch_cuda(site)
    # torch has a step of its own only where its CPU build is wanted.
    if (cuda is None) != (spec.torch is not None):
        raise EngineError(
            f"The {spec.noun} was not installed: torch {torch} is built for "
            f"{f'CUDA {cuda}' if cuda else 'the CPU'}, and the {spec.noun} is for "
            f"{'the CPU' if spec.torch else 'CUDA'}.",
            fix="Set PIP_FIND_LINKS or UV_FIND_LINKS to a folder that holds the right "
            "build, or unset them to take PyTorch's own.",
        )
    engine = Engine(
        id=identity_of(folder),
        folder=folder,
        flavour=spec.flavour,
        distribution=spec.distribution,
        version=spec.version,
        python_version=python_version(),
        platform=platform_name(),
        patch_digest=patch_digest,
        torch_version=torch,
        torch_record_sha256=read_torch_record(site, torch),
        packages=packages,
        installed_bytes=_folder_bytes(folder),
        made=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
    write_manifest(engine, folder)
    return engine


def _check_free_space(spec: EngineSpec, engines: Path) -> None:
    free = shutil.disk_usage(engines).free
    if free < spec.installed_bytes:
        raise EngineError(
            f"The {spec.noun} needs {format_bytes(spec.installed_bytes)} of disk "
            f"space; `{engines}` has {format_bytes(free)}.",
            fix="Free some space, or set XDG_DATA_HOME to a folder on a larger disk.",
        )


def _folder_bytes(folder: Path) -> int:
    return sum(
        (Path(root) / name).lstat().st_blocks * 512
        for root, _, names in os.walk(folder)
        for name in names
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
