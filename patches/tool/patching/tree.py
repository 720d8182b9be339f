"""An installed product: what is there, and the change of many files as one."""

from __future__ import annotations

import contextlib
import os
import py_compile
import shutil
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import cache_from_source
from pathlib import Path

from patching.error import PatchError
from patching.patchset import sha256
from patching.product import PRODUCTS, Product, product_of

#: Beside each file while it is being replaced: the new one, and the old one.
_NEW, _OLD = ".nvfp4-serve-new", ".nvfp4-serve-old"


def installed(site: Path) -> tuple[Product, str]:
    """Return what is to be patched in a site-packages folder, and its version.

    The local part of a version, as ``+cpu``, is left out.

    Raises:
        PatchError: There is none of our products, or more than one.
    """
    found: dict[str, tuple[Product, str]] = {}
    for product in PRODUCTS:
        words = {name.replace("-", "_") for name in product.distributions}
        for path in sorted(site.glob("*.dist-info/METADATA")):
            if path.parent.name.partition("-")[0].lower() in words:
                name, version = _name_and_version(path)
                found[name] = product, version.partition("+")[0]
    if len(found) == 1:
        product, version = next(iter(found.values()))
        if (site / product.key).is_dir():
            return product, version
    shown = ", ".join(f"{name} {version}" for name, (_, version) in found.items())
    raise PatchError(
        f"{site} does not hold exactly one vLLM, or one ModelOpt.",
        evidence=(f"found: {shown or 'none'}",),
        fix="Give the site-packages folder of the environment that is to be patched.",
    )


def _name_and_version(metadata: Path) -> tuple[str, str]:
    fields = dict(
        line.split(": ", 1)
        for line in metadata.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        if ": " in line
    )
    return fields["Name"], fields["Version"]


def read_from(source: Path) -> tuple[Product, str, Callable[[str], bytes | None]]:
    """Return product, version and a reader of the files of a wheel or site-packages."""
    if source.is_dir():
        return *installed(source), lambda path: read_file(source, path)
    distribution, version = source.name.split("-")[:2]
    product = product_of(distribution)
    if product is None:
        raise PatchError(
            f"{source.name} is not a wheel of anything that we patch.",
            evidence=tuple(
                f"{p.shown}: {', '.join(p.distributions)}" for p in PRODUCTS
            ),
            fix="Give a wheel of one of these, or a site-packages folder.",
        )
    with zipfile.ZipFile(source) as wheel:
        names = set(wheel.namelist())

    def read(path: str) -> bytes | None:
        if path not in names:
            return None
        with zipfile.ZipFile(source) as wheel:
            return wheel.read(path)

    return product, version.partition("+")[0], read


def read_file(site: Path, path: str) -> bytes | None:
    """Return a file's content, or None where there is none."""
    try:
        return (site / path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PatchError(
            f"{site / path} cannot be read.",
            evidence=(str(error),),
            fix="Install vLLM again, into a fresh environment.",
        ) from error


def digest_of(site: Path, path: str) -> str | None:
    """Return a file's digest, or None where there is none."""
    data = read_file(site, path)
    return None if data is None else sha256(data)


def replace_files(site: Path, contents: Mapping[str, bytes]) -> None:
    """Make each file of ``site`` have its new content, all of them or none.

    Every file is written beside its target first, then renamed over it. A rename
    gives a new inode, so a file that an installer hard-linked from its cache is not
    changed in that cache. Python files are compiled.

    Raises:
        PatchError: The file system said no; the tree is as it was.
    """
    made: list[Path] = []
    replaced: list[Path] = []
    try:
        for path, data in contents.items():
            _write_beside(site / path, data, made)
        for path in contents:
            _swap(site / path, replaced)
        for path in contents:
            if path.endswith(".py"):
                py_compile.compile(str(site / path), doraise=True)
    except (OSError, py_compile.PyCompileError) as error:
        _put_back(replaced)
        raise PatchError(
            f"{site} could not be changed; it is as it was.",
            evidence=(str(error),),
            fix="Free disk space, or get the right to write there, and try again.",
        ) from error
    finally:
        for path in contents:
            for ending in (_NEW, _OLD):
                with contextlib.suppress(OSError):
                    _beside(site / path, ending).unlink()
        if not replaced:
            for folder in reversed(made):
                shutil.rmtree(folder, ignore_errors=True)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}{ending}")


def _write_beside(target: Path, data: bytes, made: list[Path]) -> None:
    missing = [folder for folder in target.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        made.append(folder)
    new = _beside(target, _NEW)
    with new.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    new.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)


def _swap(target: Path, replaced: list[Path]) -> None:
    if target.exists():
        old = _beside(target, _OLD)
        old.unlink(missing_ok=True)
        os.link(target, old)
    replaced.append(target)
    _beside(target, _NEW).replace(target)


def _put_back(replaced: list[Path]) -> None:
    while replaced:
        target = replaced.pop()
        old = _beside(target, _OLD)
        if old.exists():
            old.replace(target)
        elif not _beside(target, _NEW).exists():
            target.unlink()
        Path(cache_from_source(str(target))).unlink(missing_ok=True)
