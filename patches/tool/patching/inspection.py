"""Check a folder of patches, and list it. Reads our own files only."""

from __future__ import annotations

import re
from pathlib import Path

from patching.error import PatchError
from patching.patchfile import FIELDS, Patch
from patching.patchset import (
    PatchSet,
    load_lock,
    load_patch_set,
    lock_digest,
    require_current_lock,
    series_names,
)
from patching.product import Product

_ORIGIN = re.compile(r"(upstream|backport|other), https://\S+|vendor(, https://\S+)?")
_FORWARDED = re.compile(r"https://\S+|no|not-needed: .+")


def listed(root: Path, product: Product, version: str) -> list[dict[str, str]]:
    """Return name, bug, status, applies-to and test of each patch, in order."""
    return [
        {
            "name": patch.name,
            "bug": patch.header.get("Bug", ""),
            "status": f"forwarded: {patch.header.get('Forwarded', '')}",
            "applies_to": patch.header.get("Applies-To", ""),
            "test": patch.header.get("Test", ""),
        }
        for patch in load_patch_set(root, product, version).patches
    ]


def check_folder(root: Path, product: Product, version: str) -> str:
    """Check headers, series, lock and text of one version's folder.

    Raises:
        PatchError: Something is wrong; all faults are told together.
    """
    patch_set = load_patch_set(root, product, version)
    faults = _series_faults(patch_set)
    for patch in patch_set.patches:
        faults += [
            f"{patch.name}.patch: {text}" for text in _faults(root, version, patch)
        ]
    for name, data in patch_set.sources.items():
        faults += [f"{name}: {text}" for text in _text_faults(data.decode("utf-8"))]
    lock = load_lock(patch_set.folder)
    touched = {change.path for patch in patch_set.patches for change in patch.changes}
    if touched != set(lock["files"]):
        faults.append("lock.json: it does not hold exactly the touched files")
    if faults:
        raise PatchError(
            f"The patches for {product.shown} {version} are not in order.",
            evidence=tuple(faults),
            fix="Correct each; the rules are in docs/patches.md.",
        )
    require_current_lock(patch_set, lock)
    count = len(patch_set.patches)
    digest = lock_digest(lock)
    return f"{product.shown} {version}: {count} patches in order, digest {digest}\n"


def _series_faults(patch_set: PatchSet) -> list[str]:
    named = series_names(patch_set.folder)
    there = {path.name for path in patch_set.folder.iterdir()}
    faults = [
        f"series: {name} is named twice" for name in set(named) if named.count(name) > 1
    ]
    stray = there - set(named) - {"series", "lock.json"}
    return faults + [f"series: {name} is not named" for name in sorted(stray)]


def _faults(root: Path, version: str, patch: Patch) -> list[str]:
    header = patch.header
    faults = [
        f"the field {field} is missing" for field in FIELDS if not header.get(field)
    ]
    if faults:
        return faults
    if not _ORIGIN.fullmatch(header["Origin"]):
        faults.append("Origin is upstream, backport, vendor or other, and a URL")
    is_ours = header["Origin"].startswith("vendor")
    if not re.fullmatch(r"https://\S+", header["Bug"]) and not (
        is_ours and header["Bug"] == "none"
    ):
        faults.append("Bug is a URL, or none where the origin is vendor")
    if not _FORWARDED.fullmatch(header["Forwarded"]):
        faults.append("Forwarded is a URL, no, or not-needed: and why")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", header["Last-Update"]):
        faults.append("Last-Update is a date, 2026-11-21")
    return faults + _place_faults(root, version, patch)


def _place_faults(root: Path, version: str, patch: Patch) -> list[str]:
    faults = []
    if patch.header["Applies-To"] != f"=={version}":
        faults.append(f"Applies-To is not =={version}, which its folder is for")
    if not (root.parent / patch.header["Test"].partition("::")[0]).is_file():
        faults.append(f"Test {patch.header['Test']} does not exist")
    return faults


def _text_faults(text: str) -> list[str]:
    faults = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.endswith("\r"):
            faults.append(f"line {number} ends in CR LF")
        elif line.startswith("+") and line != line.rstrip():
            faults.append(f"line {number} adds trailing whitespace")
        elif line[:1] not in {" ", ""} and line != line.rstrip():
            faults.append(f"line {number} has trailing whitespace")
    return faults
