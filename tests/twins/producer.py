"""The environment of real ModelOpt, and the twins that it makes.

Run as a script, it prints the path of that environment's Python, made if need be.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from nvfp4_serve.runtime.uv import install_torch, run_uv

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache"
#: Pinned by version alone: every machine has another file of it.
TORCH: Final = "2.13.0"
_REQUIREMENTS: Final = ROOT / "requirements" / "producer.txt"
_MAKER: Final = Path(__file__).parent / "make_twins.py"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A tiny checkpoint of a real architecture, as ModelOpt is to export it.

    The defaults keep all widths distinct, and give experts two-digit names: a
    loader that sorts 10 before 2 is then wrong.
    """

    architecture: Literal["Qwen3ForCausalLM", "Qwen3MoeForCausalLM"]
    scheme: Literal["NVFP4", "W4A16_NVFP4"] = "NVFP4"
    kv_cache: Literal["FP8"] | None = None
    seed: int = 1
    layers: int = 3
    hidden: int = 160
    feed_forward: int = 224
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    experts: int = 12
    experts_per_token: int = 2
    vocabulary: int = 288


def make_twins(twins: Iterable[Twin]) -> dict[Twin, Path]:
    """Return the folder of a fresh export of each twin; the same twin is made once.

    All that are missing are made in one process: its imports take longer than they.
    """
    folders = {twin: _folder(twin) for twin in twins}
    with contextlib.ExitStack() as stack:
        # In one order everywhere, so that two sessions cannot wait for each other.
        todo = [
            (str(scratch), dataclasses.asdict(twin))
            for twin, folder in sorted(folders.items(), key=lambda item: item[1])
            if (scratch := stack.enter_context(_made_once(folder))) is not None
        ]
        if todo:
            command: list[str | Path] = [producer_python(), _MAKER, json.dumps(todo)]
            subprocess.run(command, check=True, stdout=sys.stderr)
    return folders


def _folder(twin: Twin) -> Path:
    arguments = json.dumps(dataclasses.asdict(twin), sort_keys=True).encode()
    digest = _digest(_MAKER.read_bytes(), arguments, _environment().encode())
    return CACHE / "twins" / digest


def producer_python() -> Path:
    """Return the Python of the producer's environment; make it if it is missing."""
    folder = CACHE / f"producer-{_environment()}"
    with _made_once(folder) as scratch:
        if scratch is not None:
            _install(scratch)
    return folder / "bin" / "python"


def _environment() -> str:
    """Return what tells one producer's environment from another."""
    machine = f"torch {TORCH} {platform.machine()} {sys.version}"
    return _digest(_REQUIREMENTS.read_bytes(), machine.encode())


def _install(folder: Path) -> None:
    """Make it as the launcher makes its engine."""
    venv = ("venv", "--quiet", "--relocatable", "--python", sys.executable)
    run_uv("making the producer's environment", (*venv, str(folder)), CACHE)
    install_torch(TORCH, folder)
    into = ("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"))
    pinned = ("--no-deps", "--require-hashes", "-r", str(_REQUIREMENTS))
    run_uv("installing the producer", (*into, *pinned), CACHE)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@contextlib.contextmanager
def _made_once(folder: Path) -> Iterator[Path | None]:
    """Yield a scratch folder that becomes ``folder``, or None if that is there.

    Two processes never make the same folder at once, and a half-made one never gets
    the name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        scratch = folder.with_suffix(".partial")
        shutil.rmtree(scratch, ignore_errors=True)
        yield scratch
        scratch.rename(folder)


if __name__ == "__main__":
    sys.stdout.write(f"{producer_python()}\n")
