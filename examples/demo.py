"""The main job, start to end: plan, serve, ask over HTTP, stop.

Run by `make demo` with the launcher's own Python; everything it does is what a user
would type. It ends with 0 only if the model recites word for word.
"""

import argparse
import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

LAUNCHER = [sys.executable, "-m", "nvfp4_serve"]


def main() -> int:
    """Serve the example, ask it for its text, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", type=Path)
    example: Path = parser.parse_args().example
    port = _free_port()
    launcher("inspect", str(example))
    launcher("plan", str(example), "--port", str(port))
    started = time.monotonic()
    launcher("serve", str(example), "--port", str(port), "--detach", "--yes")
    try:
        print(f"\nready after {time.monotonic() - started:.0f} s\n", flush=True)
        return _ask(f"http://127.0.0.1:{port}", example)
    finally:
        launcher("stop", "--port", str(port))


def launcher(*words: str) -> None:
    """Print a command and run it; stop here if it fails."""
    print(f"\n$ nvfp4-serve {shlex.join(words)}", flush=True)
    subprocess.run([*LAUNCHER, *words], check=True, stdin=subprocess.DEVNULL)  # noqa: S603


def _ask(url: str, example: Path) -> int:
    question = "Recite Sonnet 18."
    body = {
        "model": example.name,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 400,
    }
    print(f"$ curl {url}/v1/chat/completions -d {shlex.quote(json.dumps(body))}\n")
    request = urllib.request.Request(  # noqa: S310
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
        said = json.load(answer)["choices"][0]["message"]["content"]
    print(f"> {question}\n\n{said}\n", flush=True)
    right = (example.parent / "sonnet-18.txt").read_text().strip()
    if said.strip() != right:
        print("That is not the sonnet, word for word.", file=sys.stderr)
        return 1
    print("Word for word.")
    return 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
