"""Hand a build what pip is told on this machine, and leave no trace in the image.

pip's settings go in as a build secret. Folders of packages are served to the build on
the loopback address, since a build sees no folder of this machine; for that, and for
names that only this machine resolves, the build shares the machine's network. On an
ordinary machine there is nothing to hand over.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

#: Settings that say where packages come from; all else is not a build's business.
_PLACES: Final = ("index-url", "extra-index-url", "find-links")
_KEPT: Final = ("trusted-host", "proxy", "timeout")
#: Where a build finds its secrets.
_CA: Final = "/run/secrets/ca"


@contextlib.contextmanager
def handed_over(folder: Path) -> Iterator[dict[str, Path]]:
    """Yield the secrets of a build, by id: files below ``folder``; none: nothing.

    Args:
        folder: Empty, and nobody else's.
    """
    settings = pip_settings(_pip_config())
    if not settings:
        yield {}
        return
    with contextlib.ExitStack() as stack:
        lines = []
        for key, value in settings.items():
            if key == "cert":
                continue
            words = value.split()
            if key in _PLACES:
                words = [stack.enter_context(_reachable(word)) for word in words]
            lines.append(f"{key} = {' '.join(words)}\n")
        secrets = {"pip": folder / "pip.conf"}
        if certificates := settings.get("cert"):
            secrets["ca"] = Path(certificates)
            lines.append(f"cert = {_CA}\n")
        secrets["pip"].write_text("[global]\n" + "".join(lines))
        secrets["pip"].chmod(0o600)
        yield secrets


def pip_settings(lines: Sequence[str]) -> dict[str, str]:
    """Return what counts for a build in the lines of ``pip config list``.

    A variable wins over a file, and a command's own section over the general one.
    """
    ranks = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in lines:
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ranks and key in {*_PLACES, *_KEPT, "cert"}:
            ranked = (ranks[section], str(ast.literal_eval(value)))
            found[key] = max(found.get(key, ranked), ranked)
    return {key: value for key, (_, value) in sorted(found.items()) if value}


def _pip_config() -> list[str]:
    words = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@contextlib.contextmanager
def _reachable(place: str) -> Iterator[str]:
    """Yield the URL at which a build reaches ``place``."""
    parts = urlsplit(place)
    if parts.scheme not in {"", "file"}:
        yield place
        return
    # The parent, since the pages of an index lead to files beside it.
    folder = Path(unquote(parts.path)).resolve()
    handler = functools.partial(_Quiet, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{folder.name}/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
