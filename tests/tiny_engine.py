"""An engine of tiny real wheels, which the real uv installs in a tenth of a second."""

import base64
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from nvfp4_serve.runtime.types import EngineSpec

#: A patch tool with the verbs of the real one; what it says of a tree is in `state`.
_SERIES = """
import pathlib, sys
state = pathlib.Path(__file__).with_name("state")
if sys.argv[1] == "digest":
    print(pathlib.Path(__file__).with_name("digest").read_text())
elif sys.argv[1] == "apply":
    (pathlib.Path(sys.argv[2]) / "patched").write_text("yes")
elif (pathlib.Path(sys.argv[2]) / "patched").read_text() != "yes":
    sys.exit("patched: not what the lock says")
if sys.argv[1] == state.read_text():
    sys.exit("a hunk occurs twice")
"""


@dataclass(frozen=True)
class Tiny:
    """What a tiny engine is made of, on the disk."""

    folder: Path
    spec: EngineSpec

    def set_digest(self, digest: str) -> None:
        """Say that the patches are other ones now."""
        (self.folder / "digest").write_text(digest)

    def break_patch_tool(self, verb: str) -> None:
        """Make the patch tool fail at ``verb``."""
        (self.folder / "state").write_text(verb)

    def quick_series(self) -> Path:
        """Write a patch tool, other patches', that waits for nothing."""
        folder = self.folder / "quick"
        folder.mkdir()
        (folder / "series.py").write_text(_SERIES)
        (folder / "digest").write_text("quick")
        (folder / "state").write_text("")
        return folder / "series.py"

    def add_wheel(self, name: str, version: str, files: dict[str, str]) -> Path:
        """Write a wheel into the folder that uv looks into."""
        return write_wheel(self.folder / "wheels", name, version, files)


def make_tiny(folder: Path) -> Tiny:
    """Write wheels, a list of requirements and a patch tool into ``folder``."""
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    wheel = write_wheel(wheels, "tiny", "1.0", {"tiny.py": "answer = 42\n"})
    write_wheel(
        wheels,
        "torch",
        "2.13.0+cpu",
        {"torch/__init__.py": "", "torch/version.py": "cuda: str | None = None\n"},
    )
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "tiny.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    (folder / "series.py").write_text(_SERIES)
    (folder / "digest").write_text("one")
    (folder / "state").write_text("")
    return Tiny(folder, tiny_spec(folder))


def tiny_spec(folder: Path) -> EngineSpec:
    """Return what the engine is made of whose files lie in ``folder``."""
    return EngineSpec(
        flavour="cpu",
        distribution="tiny",
        version="1.0",
        torch="2.13.0",
        requirements=folder / "tiny.txt",
        series=folder / "series.py",
        smoke="tiny",
        installed_bytes=1 << 20,
    )


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a wheel of pure Python; return its path."""
    info = f"{name}-{version}.dist-info"
    contents = files | {
        f"{info}/METADATA": "Metadata-Version: 2.1\n"
        f"Name: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},{_hash(text)},{len(text)}" for path, text in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return wheel


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
