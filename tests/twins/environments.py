"""The environments of real producers of NVFP4 checkpoints, each made once.

Run as a script with the name of one, it prints the path of that one's Python.
"""

import contextlib
import fcntl
import hashlib
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nvfp4_serve.runtime.uv import install_torch, run_uv

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache"
#: Pinned by version alone: every machine has another file of it.
TORCH: Final = "2.13.0"


@dataclass(frozen=True, slots=True)
class Environment:
    """A producer and all that it needs, pinned with hashes.

    Attributes:
        producer: Its name and version, as a checkpoint's own ``producer`` says.
        requirements: The file in ``requirements/``, without its ``.txt``.
    """

    producer: str
    requirements: str

    @property
    def identity(self) -> str:
        """What tells it from another environment, or from that of another machine."""
        pinned = ROOT / "requirements" / f"{self.requirements}.txt"
        machine = f"torch {TORCH} {platform.machine()} {sys.version}"
        return digest(pinned.read_bytes(), machine.encode())

    @property
    def python(self) -> Path:
        """Its Python; the environment is made if it is missing."""
        folder = CACHE / f"producer-{self.identity}"
        with made_once(folder) as scratch:
            if scratch is not None:
                self._install(scratch)
        return folder / "bin" / "python"

    def _install(self, folder: Path) -> None:
        """Make it as the launcher makes its engine."""
        venv = ("venv", "--quiet", "--relocatable", "--python", sys.executable)
        run_uv(
            f"making the environment of {self.producer}", (*venv, folder.name), CACHE
        )
        install_torch(TORCH, folder)
        into = ("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"))
        pinned = ROOT / "requirements" / f"{self.requirements}.txt"
        words = (*into, "--no-deps", "--require-hashes", "-r", str(pinned))
        run_uv(f"installing {self.producer}", words, CACHE)


#: Has the bug of vllm#38980, and is the version of its report.
MODELOPT_0_37: Final = Environment("modelopt 0.37.0", "producer-modelopt-0.37")
#: Has it too, and is the last version for transformers 4.
MODELOPT_0_43: Final = Environment("modelopt 0.43.0", "producer-modelopt-0.43")
#: With the transformers of Model-Optimizer#1323, which it was not made for.
MODELOPT_0_43_TRANSFORMERS_5: Final = Environment(
    "modelopt 0.43.0", "producer-modelopt-0.43-transformers-5"
)
#: The one that `nvfp4-serve quantize` runs.
MODELOPT_0_47: Final = Environment("modelopt 0.47.0", "quantizer")
LLM_COMPRESSOR: Final = Environment(
    "llm-compressor 0.14.0.1", "producer-llm-compressor-0.14"
)
ENVIRONMENTS: Final = (
    MODELOPT_0_37,
    MODELOPT_0_43,
    MODELOPT_0_43_TRANSFORMERS_5,
    MODELOPT_0_47,
    LLM_COMPRESSOR,
)


def digest(*parts: bytes) -> str:
    """Return 16 hexadecimal digits that follow from ``parts``."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@contextlib.contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
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
    (wanted,) = (e for e in ENVIRONMENTS if e.requirements == sys.argv[1])
    sys.stdout.write(f"{wanted.python}\n")
