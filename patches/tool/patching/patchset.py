"""The patches of one version of a product, and their lock. Reads our own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patching.error import PatchError
from patching.patchfile import Patch, changed_text, read_patch
from patching.product import Product, product_of_lock

Lock = dict[str, Any]


@dataclass(frozen=True)
class PatchSet:
    """What is done to one version of a product.

    Attributes:
        product: What is patched.
        version: The product's.
        folder: Where the patches are.
        patches: In the order of ``series``.
        sources: The bytes of each patch file, by file name.
        plugin: The bytes of each file of the plugin, by its path in site-packages;
            empty for a product that has none.
    """

    product: Product
    version: str
    folder: Path
    patches: tuple[Patch, ...]
    sources: dict[str, bytes]
    plugin: dict[str, bytes]


def sha256(data: bytes) -> str:
    """Return the digest as hex."""
    return hashlib.sha256(data).hexdigest()


def known_versions(root: Path, product: Product) -> tuple[str, ...]:
    """Return the versions of ``product`` that ``root`` has patches for."""
    found = root.glob(f"{product.key}/*/series")
    return tuple(sorted(path.parent.name for path in found))


def series_names(folder: Path) -> tuple[str, ...]:
    """Return the file names in ``series``, without comments and empty lines."""
    lines = (folder / "series").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def load_patch_set(root: Path, product: Product, version: str) -> PatchSet:
    """Return the patches for ``version`` of ``product``, and its plugin.

    Raises:
        PatchError: There are none for that version, or one cannot be read.
    """
    known = known_versions(root, product)
    if version not in known:
        raise PatchError(
            f"There are no patches for {product.shown} {version}.",
            evidence=(f"known versions: {', '.join(known)}",),
            fix=f"Install a known version of {product.shown}.",
        )
    folder = root / product.key / version
    sources = {}
    for name in series_names(folder):
        path = folder / name
        if not path.is_file():
            raise PatchError(
                f"series names {name}, which is not there.",
                evidence=(f"folder: {folder}",),
                fix="Add the file or drop the line.",
            )
        sources[name] = path.read_bytes()
    patches = tuple(
        read_patch(name.removesuffix(".patch"), data.decode("utf-8"))
        for name, data in sources.items()
    )
    plugin = _plugin(root / "plugin") if product.has_plugin else {}
    return PatchSet(product, version, folder, patches, sources, plugin)


def _plugin(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def patched_files(
    patch_set: PatchSet, read: Callable[[str], bytes | None]
) -> dict[str, bytes]:
    """Return each touched file's content after all patches.

    Args:
        patch_set: The patches.
        read: Gives a pristine file's content by its path, None where there is none.

    Raises:
        PatchError: A hunk does not apply.
    """
    texts: dict[str, str | None] = {}
    for patch in patch_set.patches:
        for change in patch.changes:
            if change.path not in texts:
                data = read(change.path)
                texts[change.path] = None if data is None else data.decode("utf-8")
            texts[change.path] = changed_text(patch.name, change, texts[change.path])
    return {path: (text or "").encode("utf-8") for path, text in texts.items()}


def make_lock(patch_set: PatchSet, read: Callable[[str], bytes | None]) -> Lock:
    """Return the lock: digests of what goes in and of what comes out."""
    files = {}
    for path, content in sorted(patched_files(patch_set, read).items()):
        before = read(path)
        files[path] = {
            "before": None if before is None else sha256(before),
            "after": sha256(content),
        }
    version = {patch_set.product.key: patch_set.version}
    return {**version, "files": files, **_own_digests(patch_set)}


def _own_digests(patch_set: PatchSet) -> Lock:
    return {
        "patches": {name: sha256(data) for name, data in patch_set.sources.items()},
        "plugin": {path: sha256(data) for path, data in patch_set.plugin.items()},
    }


def load_lock(folder: Path) -> Lock:
    """Return the lock of a version's folder."""
    path = folder / "lock.json"
    try:
        lock: Lock = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PatchError(
            f"{path} cannot be read.",
            evidence=(str(error),),
            fix="Run `series.py lock --from WHEEL` with the pristine wheel.",
        ) from error
    return lock


def require_current_lock(patch_set: PatchSet, lock: Lock) -> None:
    """Raise ``PatchError`` when patches or plugin are not those of the lock."""
    stale = []
    for kind, digests in _own_digests(patch_set).items():
        locked = lock.get(kind, {})
        stale += [
            f"{kind}: {name}"
            for name in sorted(set(digests) | set(locked))
            if digests.get(name) != locked.get(name)
        ]
    key = patch_set.product.key
    if lock.get(key) != patch_set.version:
        stale.append(f"{key}: {lock.get(key)}")
    if stale:
        raise PatchError(
            f"The lock of {patch_set.folder.name} is not current.",
            evidence=tuple(stale),
            fix="Run `series.py lock --from WHEEL` and review what it prints.",
        )


def lock_digest(lock: Mapping[str, Any]) -> str:
    """Return the digest that tells one patched tree from another, as hex.

    It covers what is in the tree (each touched file after, the plugin) and what it
    was made from (each file before), not the words in a patch's header.
    """
    product = product_of_lock(dict(lock))
    content = {key: lock[key] for key in (product.key, "files", "plugin")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8"))
