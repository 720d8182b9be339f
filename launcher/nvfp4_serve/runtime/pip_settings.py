"""What pip is told on this machine, in uv's words: uv does not read pip's settings."""

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from nvfp4_serve.errors import EngineError

#: pip's setting and the environment variable of uv's that means the same.
_SAME = (
    ("index-url", "UV_DEFAULT_INDEX"),
    ("extra-index-url", "UV_INDEX"),
    ("find-links", "UV_FIND_LINKS"),
    ("cert", "SSL_CERT_FILE"),
)
#: Any of these says where packages come from; then pip's answer is not wanted.
_UV_PLACES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")


def read_pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return uv's variables for what pip's variables and files say.

    Variables win over files, the user's file over the machine's, as pip does it.
    uv's own variables win over all of them; the caller puts those on top.

    Raises:
        EngineError: A configuration file of pip's cannot be read.
    """
    pip = _read_files(environment) | _variables(environment)
    settings = {theirs: pip[ours] for ours, theirs in _SAME if pip.get(ours)}
    if any(environment.get(name) for name in _UV_PLACES):
        settings.pop("UV_DEFAULT_INDEX", None)
        settings.pop("UV_INDEX", None)
    if "UV_INDEX" in settings:
        # pip takes the best version of all indexes; uv by default looks only at the
        # first that knows the name. Every file is pinned, so no index can slip us one.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        settings["UV_INDEX"] = " ".join(settings["UV_INDEX"].split())
    if "UV_FIND_LINKS" in settings:
        settings["UV_FIND_LINKS"] = ",".join(settings["UV_FIND_LINKS"].split())
    return settings


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    names = {f"PIP_{ours.upper().replace('-', '_')}": ours for ours, _ in _SAME}
    return {
        ours: environment[name] for name, ours in names.items() if environment.get(name)
    }


def _read_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Read pip's files, least important first (pip's own order)."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:  # pip's documented way to say: read no file.
        return {}
    home = Path(environment.get("HOME", "/nonexistent"))
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        user / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(named)] if named else []),
    ]
    found: dict[str, str] = {}
    for path in files:
        found |= _read_file(path)
    return found


def _read_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise EngineError(
            f"pip's configuration file `{path}` cannot be read: {error}.",
            fix="Correct it; `pip config debug` shows every file that pip reads.",
        ) from error
    found: dict[str, str] = {}
    for section in ("global", "install"):  # pip lets the command's section win.
        if parser.has_section(section):
            found |= {k: v for k, v in parser.items(section) if v}
    return {k.replace("_", "-"): v for k, v in found.items()}
