"""The Hub's token of this user. Reads the environment and one file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nvfp4_serve.host.disk import hub_home

#: Given to a container that downloads; a proxy with a password in it is not.
_NETWORK: Final = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def read_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the user's token for the Hub; None without any.

    Source:
        huggingface_hub, environment variables: HF_TOKEN, then HF_TOKEN_PATH, then
        ``token`` in HF_HOME.
    """
    if token := environ.get("HF_TOKEN", "").strip():
        return token
    named = environ.get("HF_TOKEN_PATH")
    path = Path(named) if named else hub_home(environ) / "token"
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def network_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what a download needs to know of the network, without any password."""
    found = {
        name: environ.get(name) or environ.get(name.lower(), "") for name in _NETWORK
    }
    return {name: value for name, value in found.items() if value and "@" not in value}
