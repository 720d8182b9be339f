"""Ask the server of this container whether it is well. Standard library only.

Exit code 0: it is. 1: it is not, or not yet. Where it listens stands in the command
line of the container's first process, so another port needs no other check.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

#: Seconds. vLLM answers at once or hangs.
TIMEOUT = 10
#: What vLLM binds where nothing is said, and how this container reaches it.
EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


def address(words: list[str], environment: Mapping[str, str]) -> str:
    """Return the URL that the command line ``words`` has the server listen at."""
    host = _value(words, "--host") or environment.get("NVFP4_SERVE_HOST", "")
    port = _value(words, "--port") or "8000"
    shown = f"[{host}]" if ":" in host else host
    return f"http://{EVERY_ADDRESS.get(host, shown)}:{port}/health"


def _value(words: list[str], flag: str) -> str | None:
    """Return the last value of ``flag``; the last one is the one that holds."""
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, is_joined, value = word.partition("=")
        if name == flag:
            found = value if is_joined else following
    return found


def main() -> int:
    """Ask once."""
    words = Path("/proc/1/cmdline").read_text(errors="replace").split("\0")
    url = address(words, os.environ)
    # No proxy: the server is in this container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            print(f"{url}: {answer.status}")
    except (urllib.error.URLError, OSError) as error:
        print(f"{url}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
