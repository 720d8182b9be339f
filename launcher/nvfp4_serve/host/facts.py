"""A Host as JSON, both ways, so that a plan for another machine is one flag away."""

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import msgspec

from nvfp4_serve.errors import HostError
from nvfp4_serve.host.types import Container, Gpu, Host

#: Raised whenever a field changes its meaning. Version 1 took a GPU of no
#: known memory for one that shares the machine's.
FACTS_VERSION: Final = 2
_MAX_BYTES: Final = 1 << 20


def facts_json(host: Host) -> dict[str, Any]:
    """Return ``host`` as JSON data; `read_facts` reads it back equal."""
    data: dict[str, Any] = msgspec.to_builtins(host)
    return {"facts": FACTS_VERSION, **data}


def read_facts(path: Path) -> Host:
    """Return the Host that a file describes.

    Raises:
        HostError: The file is not there, not JSON, of another version, or has a
            field missing, unknown or of the wrong type.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise HostError(
            f"The facts file {path} cannot be read: {error.strerror}.",
            fix="Write one on the machine itself with `nvfp4-serve host --json`.",
        ) from error
    return _parse(raw, str(path))


def _parse(raw: bytes, label: str) -> Host:
    fix = "Write one on the machine itself with `nvfp4-serve host --json`."
    if len(raw) > _MAX_BYTES:
        raise HostError(f"{label} is over 1 MiB; it is not a facts file.", fix=fix)
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HostError(f"{label} is not JSON: {error}.", fix=fix) from error
    if not isinstance(data, dict) or "facts" not in data:
        raise HostError(f"{label} is not a facts file.", fix=fix)
    if (version := data.pop("facts")) != FACTS_VERSION:
        raise HostError(
            f"{label} is a facts file of version {version!r}; this launcher reads "
            f"version {FACTS_VERSION}.",
            fix=fix,
        )
    # What `host --json` adds for the reader follows from the rest.
    data.pop("findings", None)
    faults = _unknown(data)
    host = _convert(data, faults)
    if host is None or faults:
        raise HostError(
            f"{label} does not describe a machine.", evidence=tuple(faults), fix=fix
        )
    return host


def _convert(data: dict[str, Any], faults: list[str]) -> Host | None:
    """Return the Host, or None; add what is wrong with it to ``faults``."""
    try:
        host = msgspec.convert(data, Host)
    except msgspec.ValidationError as error:
        faults.append(str(error))
        return None
    faults += _impossible(host)
    return host


def _unknown(data: dict[str, Any]) -> list[str]:
    faults = _unknown_keys(data, Host, "")
    gpus = data.get("gpus")
    for index, gpu in enumerate(gpus if isinstance(gpus, list) else ()):
        if isinstance(gpu, dict):
            faults += _unknown_keys(gpu, Gpu, f"gpus[{index}].")
    container = data.get("container")
    if isinstance(container, dict):
        faults += _unknown_keys(container, Container, "container.")
    return faults


def _unknown_keys(data: dict[str, Any], kind: type[Any], prefix: str) -> list[str]:
    known = [field.name for field in fields(kind)]
    return [
        f"unknown field `{prefix}{key}`"
        + "".join(f"; did you mean `{near}`?" for near in _near(key, known))
        for key in data
        if key not in known
    ]


def _near(key: str, known: list[str]) -> list[str]:
    return difflib.get_close_matches(key, known, n=1)


def _impossible(host: Host) -> list[str]:
    faults = [
        f"`{name}` is {value}; it must be above 0"
        for name, value in (
            ("cpus", host.cpus),
            ("numa_nodes", host.numa_nodes),
            ("memory_total", host.memory_total),
        )
        if value <= 0
    ]
    for index, gpu in enumerate(host.gpus):
        faults += [f"`gpus[{index}]`: {fault}" for fault in _impossible_gpu(gpu)]
    return faults


def _impossible_gpu(gpu: Gpu) -> list[str]:
    faults = []
    total, free = gpu.memory_total, gpu.memory_free
    if total is not None and total <= 0:
        faults.append(
            f"`memory_total` is {total}; write null where it is not known, and where "
            "the GPU shares the machine's memory"
        )
    if total is not None and gpu.integrated:
        faults.append("an integrated GPU shares the machine's memory; write null")
    if free is not None and (total is None or not 0 <= free <= total):
        faults.append(f"`memory_free` is {free}, of a `memory_total` of {total}")
    if gpu.compute_capability < (1, 0):
        faults.append(f"`compute_capability` is {list(gpu.compute_capability)}")
    if (gpu.nvlinks_active or 0) > (gpu.nvlinks or 0):
        faults.append(
            f"`nvlinks_active` is {gpu.nvlinks_active}, of {gpu.nvlinks} `nvlinks`"
        )
    return faults
