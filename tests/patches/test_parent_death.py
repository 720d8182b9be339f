"""A starter that is killed with SIGKILL leaves no process of its engine behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

#: Starts the engine as a launcher does, says its process id, and waits to be killed.
_STARTER = """
import os, subprocess, sys
environment = dict(os.environ, NVFP4_SERVE_DIE_WITH_PARENT=str(os.getpid()))
process = subprocess.Popen(sys.argv[1:], env=environment, start_new_session=True)
print(process.pid, flush=True)
process.wait()
"""
_CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
}


def _session(number: int) -> list[int]:
    """Return the processes of a session: whatever the engine started is in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == number and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _command(python: str, folder: Path) -> list[str]:
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = [python, "-m", "nvfp4_serve_engine", "serve", str(folder)]
    flags = ["--skip-tokenizer-init", "--load-format", "dummy", "--enforce-eager"]
    memory = ["--kv-cache-memory-bytes", str(16 << 20), "--max-model-len", "64"]
    return [*entry, *flags, *memory, "--host", "127.0.0.1", "--port", str(port)]


@pytest.mark.parametrize(
    ("processes", "more_seconds"),
    [
        pytest.param(1, 0.3, id="while the server imports"),
        pytest.param(3, 0.3, id="when the engine core has just been made"),
        pytest.param(3, 6.0, id="while the engine core imports"),
    ],
)
def test_nothing_is_left_when_the_starter_is_killed(
    patched: str, tmp_path: Path, processes: int, more_seconds: float
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, *_command(patched, tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ, HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1"),
    ) as starter:
        assert starter.stdout is not None
        first = int(starter.stdout.readline())
        try:
            assert _until(lambda: len(_session(first)) >= processes, 90)
            time.sleep(more_seconds)

            starter.kill()

            # An engine core that is importing sees to it when it has imported.
            assert _until(lambda: not _session(first), 60), _session(first)
        finally:
            for left in _session(first):
                os.kill(left, signal.SIGKILL)
