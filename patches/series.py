"""Apply our patches to an installed vLLM or ModelOpt; import neither.

Standard library only. Run it with the environment's own Python:
``python -I series.py apply SITE_PACKAGES``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

# ``-I`` leaves the script's folder out of the path.
sys.path.insert(0, str(Path(__file__).resolve().parent / "tool"))

from patching.error import PatchError
from patching.inspection import check_folder, listed
from patching.installation import apply, verify
from patching.patchset import (
    known_versions,
    load_lock,
    load_patch_set,
    lock_digest,
    make_lock,
)
from patching.product import PRODUCTS, VLLM, Product
from patching.tree import read_from

ROOT = Path(__file__).resolve().parent
#: ``ExitCode.PATCH`` of the launcher.
EXIT_PATCH = 60


def main(arguments: list[str]) -> int:
    """Run one verb; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print(options.verb(options), end="")
    except PatchError as error:
        print(error.text(), end="", file=sys.stderr)
        return EXIT_PATCH
    return 0


def patch_digest(
    root: Path, version: str | None = None, product: Product = VLLM
) -> str:
    """Return the digest of the locked patches and plugin for one version.

    Args:
        root: The folder ``patches``.
        version: The product's; may be left out where there is only one.
        product: What is patched.
    """
    known = known_versions(root, product)
    chosen = known[0] if version is None and len(known) == 1 else version
    if chosen is None or chosen not in known:
        raise PatchError(
            f"There are no patches for {product.shown} {chosen}.",
            evidence=(f"known versions: {', '.join(known)}",),
            fix=f"Name one of them with `--{product.key}`.",
        )
    return lock_digest(load_lock(root / product.key / chosen))


def _apply(options: argparse.Namespace) -> str:
    return apply(ROOT, options.site)


def _verify(options: argparse.Namespace) -> str:
    return verify(ROOT, options.site)


def _lock(options: argparse.Namespace) -> str:
    product, version, read = read_from(options.source)
    patch_set = load_patch_set(ROOT, product, version)
    path = patch_set.folder / "lock.json"
    old = load_lock(patch_set.folder) if path.exists() else {}
    new = make_lock(patch_set, read)
    path.write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")
    changed = [
        f"{kind}: {name}\n"
        for kind in ("files", "patches", "plugin")
        for name in sorted({*old.get(kind, {}), *new[kind]})
        if old.get(kind, {}).get(name) != new[kind].get(name)
    ]
    return "".join(changed) + f"digest: {lock_digest(new)}\n"


def _list(options: argparse.Namespace) -> str:
    rows = [
        row for product, version in _folders() for row in listed(ROOT, product, version)
    ]
    if options.json:
        return json.dumps(rows, indent=2) + "\n"
    return "".join("  ".join(row.values()) + "\n" for row in rows)


def _digest(options: argparse.Namespace) -> str:
    for product in PRODUCTS:
        if version := getattr(options, product.key):
            return patch_digest(ROOT, version, product) + "\n"
    return patch_digest(ROOT) + "\n"


def _check(_: argparse.Namespace) -> str:
    return "".join(check_folder(ROOT, *folder) for folder in _folders())


def _folders() -> list[tuple[Product, str]]:
    return [(p, version) for p in PRODUCTS for version in known_versions(ROOT, p)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="series.py", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, words in (
        (_apply, "patch an installed vLLM or ModelOpt"),
        (_verify, "check one"),
    ):
        sub = verbs.add_parser(verb.__name__[1:], help=words)
        sub.add_argument("site", type=Path, metavar="SITE_PACKAGES")
        sub.set_defaults(verb=verb)
    sub = verbs.add_parser("lock", help="write lock.json from a pristine one")
    sub.add_argument("--from", dest="source", type=Path, required=True, metavar="PATH")
    sub.set_defaults(verb=_lock)
    sub = verbs.add_parser("list", help="one line a patch")
    sub.add_argument("--json", action="store_true")
    sub.set_defaults(verb=_list)
    sub = verbs.add_parser("digest", help="print the digest of patches and plugin")
    which = sub.add_mutually_exclusive_group()
    for product in PRODUCTS:
        words = f"of the patches for this {product.shown}"
        which.add_argument(f"--{product.key}", metavar="VERSION", help=words)
    sub.set_defaults(verb=_digest)
    sub = verbs.add_parser("check", help="check headers, series and lock")
    sub.set_defaults(verb=_check)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
