"""CDI specs on this machine -> the names of NVIDIA GPUs in them. Reads files only."""

import json
import re
from pathlib import Path
from typing import Any, Final

#: Of the Container Device Interface, "CDI JSON Specification".
SPEC_DIRS: Final = ("/etc/cdi", "/var/run/cdi")
KIND: Final = "nvidia.com/gpu"

_KIND_LINE: Final = re.compile(r"^kind:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
_ITEM: Final = re.compile(r"^(\s*)-\s")
_MAX_BYTES: Final = 4 << 20


def read_cdi_devices(
    folders: tuple[str, ...], root: Path = Path("/")
) -> tuple[str, ...]:
    """Return ``nvidia.com/gpu=NAME`` for each NVIDIA GPU in the specs of ``folders``.

    A spec that cannot be read is passed over: the engine passes it over too.
    """
    names: set[str] = set()
    for folder in folders:
        for path in sorted((root / folder.lstrip("/")).glob("*")):
            if path.suffix in {".json", ".yaml", ".yml"}:
                names.update(_names(path))
    return tuple(sorted(names))


def _names(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode()
        devices = _from_json(text) if path.suffix == ".json" else _from_yaml(text)
    except (OSError, ValueError):
        return []
    return [f"{KIND}={name}" for name in devices]


def _from_json(text: str) -> list[str]:
    spec: Any = json.loads(text)
    if not isinstance(spec, dict) or spec.get("kind") != KIND:
        return []
    devices = spec.get("devices")
    return [
        device["name"]
        for device in (devices if isinstance(devices, list) else ())
        if isinstance(device, dict) and isinstance(device.get("name"), str)
    ]


def _from_yaml(text: str) -> list[str]:
    """Return the names under ``devices:`` of a spec in block style.

    That is what ``nvidia-ctk cdi generate`` writes. Its device names stand at the depth
    of the list's items; names further in are of hooks and nodes. A YAML reader would be
    a dependency for this one file.
    """
    kind = _KIND_LINE.search(text)
    if kind is None or kind.group(1) != KIND:
        return []
    _, _, rest = f"\n{text}".partition("\ndevices:")
    names: list[str] = []
    name: re.Pattern[str] | None = None
    for line in rest.splitlines()[1:]:
        if line and not line[0].isspace() and line[0] not in "-#":
            break
        if name is None and (item := _ITEM.match(line)):
            name = re.compile(rf"^{item[1]}[- ] name:\s*[\"']?([^\s\"'#]+)")
        if name and (found := name.match(line)):
            names.append(found[1])
    return names
