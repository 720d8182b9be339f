"""The managed engines of this user: find, make, verify, list, remove."""

from nvfp4_serve.errors import EngineError, PatchError
from nvfp4_serve.runtime.identity import engine_id
from nvfp4_serve.runtime.install import (
    install,
    is_partial,
    partial_of,
    remove_folder,
)
from nvfp4_serve.runtime.libraries import check_libraries
from nvfp4_serve.runtime.lock import exclusive
from nvfp4_serve.runtime.manifest import read_engine
from nvfp4_serve.runtime.places import engines_folder
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
        EngineError: A system library that it needs is not here (any more).
        PatchError: Some file was changed since the engine was made.
    """
    check_libraries(spec.libraries)
    status, words = run_series(spec.series, "verify", engine.site_packages)
    if status:
        raise PatchError(
            f"The engine `{engine.id}` was changed since it was made.",
            evidence=tuple(words.strip().splitlines()[-8:]),
            fix=f"Make it again: `nvfp4-serve engine remove {engine.id}`, then "
            "`nvfp4-serve engine install`.",
        )


def list_engines() -> tuple[Engine, ...]:
    """Return every finished engine of this user, by id."""
    folder = engines_folder()
    if not folder.is_dir():
        return ()
    whole = (p for p in sorted(folder.iterdir()) if p.is_dir() and not is_partial(p))
    found = (read_engine(path) for path in whole)
    return tuple(engine for engine in found if engine)


def remove_engine(identity: str, say: Say) -> None:
    """Remove the engine ``identity`` from the disk.

    Raises:
        EngineError: There is none of that name.
    """
    engines = engines_folder()
    known = {path.name: path for path in engines.glob("*") if path.is_dir()}
    folder = known.get(identity)
    if folder is None:
        raise EngineError(
            f"There is no engine `{identity}` in `{engines}`.",
            fix="`nvfp4-serve engine status` lists them.",
        )
    lock = engines / f"{identity}.lock"
    with exclusive(lock, waiting_for=f"an installation of {identity}", say=say):
        doomed = partial_of(folder)
        remove_folder(doomed)
        # Renamed first: an engine that is half removed must not pass for one.
        folder.rename(doomed)
        remove_folder(doomed)


def _patch_digest(spec: EngineSpec) -> str:
    status, words = run_series(spec.series, "digest")
    if status:
        raise PatchError(
            "The patches that come with nvfp4-serve cannot be read.",
            evidence=tuple(words.strip().splitlines()[-8:]),
            fix="Install nvfp4-serve again.",
        )
    return words.strip()
