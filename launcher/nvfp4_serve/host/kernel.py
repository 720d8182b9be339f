"""What the kernel shows of GPUs, WSL and containers: ``/proc`` and ``/dev``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Where Windows keeps the libraries that it lends to Linux.
_WSL_NVML: Final = "usr/lib/wsl/lib/libnvidia-ml.so.1"
_NODE: Final = re.compile(r"nvidia\d+")


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel shows.

    Attributes:
        gpus: GPUs of NVIDIA's kernel driver; None where it lists nothing.
        wsl: It is Windows' kernel.
        wsl_nvml: Windows' NVML, where there is one.
        in_container: This process runs in a container.
    """

    gpus: int | None
    wsl: bool
    wsl_nvml: str | None
    in_container: bool


def read_kernel(root: Path = Path("/")) -> Kernel:
    """Return what the kernel shows.

    Args:
        root: The root of the file system that holds ``proc`` and ``dev``.

    Source:
        ``/proc/driver/nvidia/gpus/<bus id>`` and ``/dev/nvidia<n>`` are NVIDIA's;
        Docker and Podman leave ``/.dockerenv`` and ``/run/.containerenv``.
    """
    nvml = root / _WSL_NVML
    wsl = "microsoft" in _text(root / "proc/sys/kernel/osrelease").lower()
    return Kernel(
        gpus=max(_count_proc(root), _count_nodes(root)) or None,
        wsl=wsl,
        wsl_nvml=f"/{_WSL_NVML}" if wsl and nvml.exists() else None,
        in_container=any(
            (root / name).exists() for name in (".dockerenv", "run/.containerenv")
        ),
    )


def _count_proc(root: Path) -> int:
    return len(list((root / "proc/driver/nvidia/gpus").glob("*")))


def _count_nodes(root: Path) -> int:
    # `/dev/nvidiactl` and `/dev/nvidia-uvm` are no GPUs.
    nodes = (root / "dev").glob("nvidia*")
    return sum(bool(_NODE.fullmatch(node.name)) for node in nodes)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
