"""Apply a patch set to an installed product, and verify one."""

from __future__ import annotations

import json
from pathlib import Path

from patching.error import PatchError
from patching.patchset import (
    Lock,
    PatchSet,
    load_lock,
    load_patch_set,
    lock_digest,
    patched_files,
    require_current_lock,
    sha256,
)
from patching.product import product_of_lock
from patching.tree import digest_of, installed, read_file, replace_files

#: In site-packages, written last: the tree is whole only where it is.
MANIFEST = "nvfp4-serve-patches.json"
_AGAIN = "Install it again, into a fresh environment, and apply the patches to that."


def apply(root: Path, site: Path) -> str:
    """Patch what is in ``site`` and add its plugin; return what was done.

    Raises:
        PatchError: The tree is neither pristine nor already patched, or could not
            be changed. It is as it was.
    """
    product, version = installed(site)
    patch_set = load_patch_set(root, product, version)
    lock = load_lock(patch_set.folder)
    require_current_lock(patch_set, lock)
    digest = lock_digest(lock)
    if _is_applied(site, lock):
        return f"already applied: {product.shown} {version}, patches {digest}\n"
    _require_pristine(site, lock)
    contents = _new_contents(patch_set, lock, site)
    manifest = {MANIFEST: _manifest(patch_set, digest)}
    replace_files(site, {**contents, **patch_set.plugin, **manifest})
    count = len(patch_set.patches)
    what = f"{count} patches{' and the plugin' if product.has_plugin else ''}"
    return f"applied {what}: {product.shown} {version}, patches {digest}\n"


def verify(root: Path, site: Path) -> str:
    """Check that every touched and added file is what the lock says.

    Raises:
        PatchError: One is not; the message names each.
    """
    product, version = installed(site)
    patch_set = load_patch_set(root, product, version)
    lock = load_lock(patch_set.folder)
    wrong = _differences(site, lock)
    manifest = read_file(site, MANIFEST)
    if manifest is None:
        wrong.append(f"{MANIFEST}: missing")
    elif json.loads(manifest).get("digest") != lock_digest(lock):
        wrong.append(f"{MANIFEST}: of another patch set")
    if wrong:
        raise PatchError(
            f"{site} is not what the lock of {product.shown} {version} says.",
            evidence=tuple(wrong),
            fix=_AGAIN,
        )
    return f"verified: {product.shown} {version}, patches {lock_digest(lock)}\n"


def _after(lock: Lock) -> dict[str, str]:
    """Return the digest of each file of a patched tree, plugin included."""
    after = {path: digests["after"] for path, digests in lock["files"].items()}
    return {**after, **lock["plugin"]}


def _differences(site: Path, lock: Lock) -> list[str]:
    wrong = []
    for path, digest in _after(lock).items():
        found = digest_of(site, path)
        if found != digest:
            wrong.append(f"{path}: {'missing' if found is None else 'other content'}")
    for folder in sorted({path.split("/")[0] for path in lock["plugin"]}):
        for path in sorted((site / folder).rglob("*")):
            name = path.relative_to(site).as_posix()
            if path.is_file() and "__pycache__" not in path.parts:
                wrong += [f"{name}: not ours"] if name not in lock["plugin"] else []
    return wrong


def _is_applied(site: Path, lock: Lock) -> bool:
    manifest = read_file(site, MANIFEST)
    if manifest is None:
        return False
    same = json.loads(manifest).get("digest") == lock_digest(lock)
    return same and not _differences(site, lock)


def _require_pristine(site: Path, lock: Lock) -> None:
    before = {path: digests["before"] for path, digests in lock["files"].items()}
    before.update(dict.fromkeys(lock["plugin"]))
    found = {path: digest_of(site, path) for path in before}
    other = [path for path, digest in found.items() if digest != before[path]]
    if not other and read_file(site, MANIFEST) is None:
        return
    after = _after(lock)
    done = [path for path in other if found[path] == after[path]]
    if done and len(done) == len(other):
        missing = [path for path in before if path not in done] or [MANIFEST]
        raise PatchError(
            f"{site} is half-applied: an earlier run was cut off.",
            evidence=(
                *(f"patched: {path}" for path in done),
                *(f"not patched: {path}" for path in missing),
            ),
            fix=_AGAIN,
        )
    product = product_of_lock(lock)
    raise PatchError(
        f"{site} is not the pristine {product.shown} {lock[product.key]} that the "
        "patches are for.",
        evidence=tuple(
            f"{path}: sha256 {found[path]}, expected {before[path]}" for path in other
        )
        or (f"{MANIFEST} is there: another patch set was applied",),
        fix=_AGAIN,
    )


def _new_contents(patch_set: PatchSet, lock: Lock, site: Path) -> dict[str, bytes]:
    contents = patched_files(patch_set, lambda path: read_file(site, path))
    for path, data in contents.items():
        if lock["files"].get(path, {}).get("after") != sha256(data):
            raise PatchError(
                f"{path} would not be what the lock says.",
                evidence=(f"sha256 {sha256(data)}",),
                fix="Run `series.py lock --from WHEEL` and review what it prints.",
            )
    return contents


def _manifest(patch_set: PatchSet, digest: str) -> bytes:
    content = {
        patch_set.product.key: patch_set.version,
        "digest": digest,
        "patches": [patch.name for patch in patch_set.patches],
    }
    return (json.dumps(content, indent=2) + "\n").encode("utf-8")
