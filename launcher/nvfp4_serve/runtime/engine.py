"""The managed environments of this user: find, make, verify, list, remove."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from nvfp4_serve.errors import EngineError, PatchError
from nvfp4_serve.runtime.folders import (
    identity_of,
    is_partial,
    lock_of,
    take_away,
)
from nvfp4_serve.runtime.identity import engine_id
from nvfp4_serve.runtime.install import install
from nvfp4_serve.runtime.libraries import check_libraries
from nvfp4_serve.runtime.lock import exclusive, shared
from nvfp4_serve.runtime.manifest import has_python, read_engine
from nvfp4_serve.runtime.places import engines_folder, unusable
from nvfp4_serve.runtime.types import Engine, EngineSpec, Say
from nvfp4_serve.runtime.uv import run_series


def find_engine(spec: EngineSpec) -> Engine | None:
    """Return the finished engine of ``spec``, or None where it is not installed.

    Raises:
        EngineError: There is one, and its manifest is damaged.
        PatchError: The patches cannot be read.
    """
    return read_engine(engines_folder() / engine_id(spec, _patch_digest(spec)))


def install_engine(spec: EngineSpec, say: Say) -> Engine:
    """Return the engine of ``spec``; install it first where it is not there.

    Raises:
        EngineError: It cannot be made; nothing of it is left.
        PatchError: Our patches do not fit; nothing of it is left.
    """
    check_libraries(spec.libraries)
    digest = _patch_digest(spec)
    return install(spec, engine_id(spec, digest), digest, engines_folder(), say)


def verify_engine(engine: Engine, spec: EngineSpec) -> None:
    """Check that every patched file of ``engine`` is what our lock says.

    Raises:
        EngineError: Its Python, or a system library that it needs, is not here (any
            more).
        PatchError: Some file was changed since the engine was made.
    """
    if not has_python(engine):
        raise EngineError(
            f"The Python of the {spec.noun} `{engine.id}` has gone.",
            evidence=(f"`{engine.python}` leads to `{engine.python.resolve()}`",),
            fix=f"Make it again: `{_install_command(spec)}`.",
        )
    check_libraries(spec.libraries)
    status, words = run_series(spec.series, "verify", engine.site_packages)
    if status:
        raise PatchError(
            f"The {spec.noun} `{engine.id}` was changed since it was made.",
            evidence=tuple(words.strip().splitlines()[-8:]),
            fix=f"Make it again: `nvfp4-serve engine remove {engine.id}`, then "
            f"`{_install_command(spec)}`.",
        )


def list_engines() -> tuple[Engine, ...]:
    """Return every finished engine of this user, by id."""
    found = (read_engine(path) for path in _folders() if not is_partial(path))
    return tuple(engine for engine in found if engine)


def list_unfinished() -> tuple[str, ...]:
    """Return the ids of what is being installed, or was when it was killed."""
    return tuple(identity_of(path) for path in _folders() if is_partial(path))


def remove_engine(identity: str, say: Say) -> None:
    """Remove the engine ``identity``, or what there is of it, from the disk.

    Raises:
        EngineError: There is none of that name, something runs on it, or it cannot be
            removed.
    """
    engines = engines_folder()
    if identity not in {identity_of(path) for path in _folders()}:
        raise EngineError(
            f"There is no engine `{identity}` in `{engines}`.",
            fix="`nvfp4-serve engine status` lists them.",
        )
    waiting_for = f"an installation of {identity}"
    try:
        with exclusive(lock_of(engines, identity), waiting_for=waiting_for, say=say):
            take_away(engines / identity, say)
    except OSError as error:
        raise unusable(error, engines, "XDG_DATA_HOME") from error


@contextlib.contextmanager
def in_use(engine: Engine) -> Iterator[None]:
    """Keep ``engine`` from being removed or made again while the block runs."""
    with shared(lock_of(engines_folder(), engine.id)):
        yield


def _folders() -> tuple[Path, ...]:
    engines = engines_folder()
    try:
        if not engines.is_dir():
            return ()
        return tuple(path for path in sorted(engines.iterdir()) if path.is_dir())
    except OSError as error:
        raise unusable(error, engines, "XDG_DATA_HOME") from error


def _install_command(spec: EngineSpec) -> str:
    flavour = f" --flavour {spec.flavour}" if spec.noun != "engine" else ""
    return f"nvfp4-serve engine install{flavour}"


def _patch_digest(spec: EngineSpec) -> str:
    which = (f"--{spec.product}", spec.version)
    status, words = run_series(spec.series, "digest", *which)
    if status:
        raise PatchError(
            "The patches that come with nvfp4-serve cannot be read.",
            evidence=tuple(words.strip().splitlines()[-8:]),
            fix="Install nvfp4-serve again.",
        )
    return words.strip()
