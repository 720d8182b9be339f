"""Apply our patches to an installed vLLM. Standard library only; never imports vLLM.

Run it with the engine's own Python: ``python -I series.py apply SITE_PACKAGES``.
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


def patch_digest(root: Path, version: str | None = None) -> str:
    """Return the digest of the locked patches and plugin for one vLLM version.

    Args:
        root: The folder ``patches``.
        version: vLLM's; may be left out where there is only one.
    """
    known = known_versions(root)
    chosen = known[0] if version is None and len(known) == 1 else version
    if chosen is None or chosen not in known:
        raise PatchError(
            f"There are no patches for vLLM {chosen}.",
            evidence=(f"known versions: {', '.join(known)}",),
            fix="Name one of them with `--vllm`.",
        )
    return lock_digest(load_lock(root / "vllm" / chosen))


def _apply(options: argparse.Namespace) -> str:
    return apply(ROOT, options.site)


def _verify(options: argparse.Namespace) -> str:
    return verify(ROOT, options.site)


def _lock(options: argparse.Namespace) -> str:
    version, read = read_from(options.source)
    patch_set = load_patch_set(ROOT, version)
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
    rows = [row for version in known_versions(ROOT) for row in listed(ROOT, version)]
    if options.json:
        return json.dumps(rows, indent=2) + "\n"
    return "".join("  ".join(row.values()) + "\n" for row in rows)


def _digest(options: argparse.Namespace) -> str:
    return patch_digest(ROOT, options.vllm) + "\n"


def _check(_: argparse.Namespace) -> str:
    return "".join(check_folder(ROOT, version) for version in known_versions(ROOT))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="series.py", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, words in ((_apply, "patch an installed vLLM"), (_verify, "check one")):
        sub = verbs.add_parser(verb.__name__[1:], help=words)
        sub.add_argument("site", type=Path, metavar="SITE_PACKAGES")
        sub.set_defaults(verb=verb)
    sub = verbs.add_parser("lock", help="write lock.json from a pristine vLLM")
    sub.add_argument("--from", dest="source", type=Path, required=True, metavar="PATH")
    sub.set_defaults(verb=_lock)
    sub = verbs.add_parser("list", help="one line a patch")
    sub.add_argument("--json", action="store_true")
    sub.set_defaults(verb=_list)
    sub = verbs.add_parser("digest", help="print the digest of patches and plugin")
    sub.add_argument("--vllm", metavar="VERSION")
    sub.set_defaults(verb=_digest)
    sub = verbs.add_parser("check", help="check headers, series and lock")
    sub.set_defaults(verb=_check)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
