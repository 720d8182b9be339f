"""A stand-in for the engine: a real HTTP server that speaks what vLLM's speaks.

It starts in a tenth of a second, and misbehaves in the ways that the variable STAND_IN
names. Standard library only: it is a script, and it must start fast.
"""

import argparse
import ctypes
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

#: What it recites: the text that follows any of its beginnings.
TEXT = "Shall I compare thee to a summer's day? Thou art more lovely."
#: All that it recites.
TEXTS = [TEXT]
NAME = "stand-in"
#: What requests must show where it wants a key.
KEY = "sesame"


class _Handler(http.server.BaseHTTPRequestHandler):
    name: str
    behaviour: frozenset[str]
    limit: int

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(503 if "never-healthy" in self.behaviour else 200, {})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        question = json.loads(self.rfile.read(size))
        if self._is_refused(question):
            return
        if self.path == "/tokenize" and "cannot-count" not in self.behaviour:
            count = len(re.findall(r"\s*\S+", question["prompt"]))
            self._answer(200, {"count": count, "max_model_len": self.limit})
        elif self.path == "/v1/completions":
            self._complete(question)
        else:
            self._answer(404, {})

    def _is_refused(self, question: dict[str, Any]) -> bool:
        is_guarded = "wants-key" in self.behaviour
        if is_guarded and self.headers["Authorization"] != f"Bearer {KEY}":
            self._answer(401, {"error": "Unauthorized"})
            return True
        if question["model"] != self.name:
            self._answer(404, {"error": f"no model {question['model']}"})
            return True
        return False

    def _complete(self, question: dict[str, Any]) -> None:
        if "hangs" in self.behaviour:
            threading.Event().wait()
        if "dies-when-asked" in self.behaviour:
            os.kill(os.getpid(), signal.SIGKILL)
        if "fails-when-asked" in self.behaviour:
            self._answer(500, {"error": "EngineDeadError"})
            return
        before = len(re.findall(r"\s*\S+", question["prompt"]))
        if before + question["max_tokens"] > self.limit:
            self._answer(400, {"error": f"more than {self.limit} tokens"})
            return
        said = self._words(question["prompt"])
        words = said[: question["max_tokens"]]
        bad = float("nan") if "nan" in self.behaviour else -9999.0
        is_bad = {"nan", "minus-infinity"} & self.behaviour
        logprobs = [bad if is_bad else -0.5 for _ in words]
        choice: dict[str, object] = {
            "text": "".join(words),
            "logprobs": None,
            "finish_reason": "length" if len(words) < len(said) else "stop",
        }
        if question.get("logprobs"):
            choice["logprobs"] = {"tokens": words, "token_logprobs": logprobs}
        self._answer(200, {"choices": [choice]})

    def _words(self, prompt: str) -> list[str]:
        if "silent" in self.behaviour:
            return []
        text = next((text for text in TEXTS if text.startswith(prompt)), None)
        if text is None or not prompt:
            return [" babble"] * 100
        words = re.findall(r"\s*\S+", text[len(prompt) :])
        return (
            [*words[:3], " winter's", *words[4:]]
            if "wrong" in self.behaviour
            else words
        )

    def _answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _crash() -> None:
    head = "(EngineCore pid=12) ERROR 11-21 02:30:00 [core.py:1100]"
    _say(f"{head} Traceback (most recent call last):")
    _say(f"{head} ValueError: 3 blocks of KV cache are not enough.")
    _say("(APIServer pid=11) Traceback (most recent call last):")
    _say("(APIServer pid=11) RuntimeError: Engine core initialization failed.")
    sys.exit(1)


def _start_child(name: str, *, own_group: bool) -> None:
    """Start a process that ignores SIGTERM and has the kernel's name ``name``."""
    code = (
        "import ctypes, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "ctypes.CDLL(None).prctl(15, sys.argv[1].encode())\n"
        "print('born', flush=True)\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", code, name],
        stdout=subprocess.PIPE,
        process_group=0 if own_group else None,
    )
    assert child.stdout is not None
    child.stdout.readline()
    _say(f"child {child.pid}")


def run(name: str, address: tuple[str, int], behaviour: frozenset[str]) -> None:
    """Serve as ``name`` at ``address`` until somebody ends it."""
    _say("INFO 11-21 02:30:00 [model.py:733] Resolved architecture: StandIn")
    if "deaf" in behaviour:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "grandchild" in behaviour:
        _start_child("wanderer", own_group=True)
    if "core" in behaviour:
        _start_child("VLLM::EngineCor", own_group=False)
    if "crashes" in behaviour:
        _crash()
    if "marlin" in behaviour:
        _say(
            "INFO 11-21 02:30:01 [nvfp4.py:286] Using 'MARLIN' NvFp4 MoE backend out "
            "of potential backends: ['FLASHINFER_TRTLLM', 'MARLIN']."
        )
    if "never-listens" in behaviour:
        time.sleep(600)
    _Handler.name = name
    _Handler.behaviour = behaviour
    named = [word for word in behaviour if word.startswith("limit=")]
    _Handler.limit = int(named[0].partition("=")[2]) if named else 64
    with http.server.ThreadingHTTPServer(address, _Handler) as server:
        _say("INFO:     Application startup complete.")
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    given = parser.parse_args()
    behaviour = frozenset(os.environ["STAND_IN"].split(","))
    if parent := os.environ.get("NVFP4_SERVE_DIE_WITH_PARENT"):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        assert os.getppid() == int(parent)
    run(given.served_model_name, ("127.0.0.1", given.port), behaviour)


if __name__ == "__main__":
    main()
