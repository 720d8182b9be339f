"""``engine.json``: what is in a finished engine. It is written last, or not at all."""

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.places import unusable
from nvfp4_serve.runtime.types import Engine

MANIFEST: Final = "engine.json"


def read_engine(folder: Path) -> Engine | None:
    """Return the finished engine in ``folder``, or None where there is none.

    Raises:
        EngineError: Its manifest is not one of ours, or cannot be read.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        return Engine(folder=folder, **content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unusable(error, folder, "XDG_DATA_HOME") from error
    except (ValueError, TypeError) as error:
        raise EngineError(
            f"`{path}` does not describe an engine: {error}.",
            fix=f"Remove it: `nvfp4-serve engine remove {folder.name}`.",
        ) from error


def has_python(engine: Engine) -> bool:
    """True while the interpreter of ``engine`` is there.

    It is a link to the one that made the engine, which an upgrade may take away.
    """
    return os.access(engine.python, os.X_OK)


def write_manifest(engine: Engine, folder: Path) -> None:
    """Write the manifest of ``engine`` into ``folder``; return once it is on disk."""
    content = {
        field.name: getattr(engine, field.name)
        for field in dataclasses.fields(engine)
        if field.name != "folder"
    }
    with (folder / MANIFEST).open("x", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def read_packages(site_packages: Path) -> Mapping[str, str]:
    """Return every distribution in ``site_packages`` and its version, by name."""
    found = importlib.metadata.distributions(path=[str(site_packages)])
    pairs = ((_normal(d.metadata["Name"]), d.version) for d in found)
    return dict(sorted(pairs))


def read_torch_record(site_packages: Path, version: str) -> str:
    """Return the sha256 of the list of files and hashes that came with torch.

    It says which build was installed: the CPU build's file, and so its hash, is not
    the same on every machine.
    """
    record = site_packages / f"torch-{version}.dist-info" / "RECORD"
    return hashlib.sha256(record.read_bytes()).hexdigest()


def read_torch_cuda(site_packages: Path) -> str | None:
    """Return the CUDA that torch was built for, None for a CPU build; import nothing.

    Source:
        torch 2.13.0, ``torch/version.py``: ``cuda: Optional[str] = None``.
    """
    path = site_packages / "torch" / "version.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case (
                ast.AnnAssign(target=ast.Name("cuda"), value=ast.Constant(value))
                | ast.Assign(targets=[ast.Name("cuda")], value=ast.Constant(value))
            ):
                return None if value is None else str(value)
            case _:
                pass
    raise EngineError(
        f"`{path}` does not say for which CUDA torch was built.",
        fix="Install the engine again; if it stays so, report it as a bug.",
    )


def _normal(name: str) -> str:
    """Return a distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
