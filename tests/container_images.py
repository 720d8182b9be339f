"""Images for tests, made of this machine's own Python: no registry, no network."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import docker

_TESTS = Path(__file__).parent
#: Of the standard library, what no server needs.
_LEFT_OUT = {"test", "idlelib", "ensurepip", "site-packages", "dist-packages"} | {
    "__pycache__",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "pydoc_data",
}
PYTHON = str(Path(sys.executable).resolve())


def missing() -> str | None:
    """Say what keeps an image from being made here; None if nothing does."""
    if _busybox() is None:
        return "no static busybox; `apt-get install busybox-static` brings it"
    return None


def make_base(client: docker.APIClient) -> str:
    """Import an image with Python, a shell and the stand-in; return its name."""
    client.import_image_from_data(_tar(), repository="stand-in-base", tag="1")
    return "stand-in-base:1"


def make_image(
    client: docker.APIClient,
    name: str,
    *behaviour: str,
    labels: dict[str, str] | None = None,
    lines: Sequence[str] = (),
) -> str:
    """Build an image whose engine behaves in the named ways; return ``name``."""
    command = [PYTHON, "-B", "/stand_in_container.py", ",".join(behaviour)]
    given = {"org.nvfp4-serve.serve": json.dumps(command)} | (labels or {})
    text = "\n".join(
        (
            "FROM stand-in-base:1",
            *(f"LABEL {key}={json.dumps(value)}" for key, value in given.items()),
            *lines,
        )
    )
    events = client.build(
        fileobj=io.BytesIO(text.encode()), tag=name, rm=True, decode=True
    )
    said = [event for event in events if "error" in event]
    assert not said, said
    return name


@cache
def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
        for path in sorted(set(_files())):
            tar.add(path, arcname=str(path).lstrip("/"), filter=_as_root)
        for name in ("stand_in_container.py", "stand_in_engine.py"):
            tar.add(_TESTS / name, arcname=name, filter=_as_root)
        busybox = _busybox()
        assert busybox is not None
        tar.add(Path(busybox).resolve(), arcname="bin/busybox", filter=_as_root)
        for name in ("sh", "cat", "true", "sleep", "id"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Let everybody read it: it may lie in a home folder that is closed."""
    entry.uid = entry.gid = 0
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _files() -> Iterator[Path]:
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    modules = sorted((stdlib / "lib-dynload").glob("*.so"))
    for path in (Path(PYTHON), *modules):
        yield from (Path(PYTHON),)
        yield from _libraries(path)
    for folder, names, files in os.walk(stdlib):
        names[:] = [name for name in names if name not in _LEFT_OUT]
        yield from (Path(folder) / name for name in files)


@cache
def _libraries(path: Path) -> tuple[Path, ...]:
    """Return the libraries that ``path`` is linked to, under the names it uses."""
    said = subprocess.run(
        ["ldd", path], capture_output=True, text=True, check=False
    ).stdout
    return tuple(Path(name) for name in re.findall(r"(/\S+) \(0x", said))


def _busybox() -> str | None:
    return shutil.which("busybox")
