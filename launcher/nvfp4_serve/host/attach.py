"""How a container engine is asked for GPUs. Pure: the engine's answers go in."""

import re
from dataclasses import dataclass
from typing import Any, Final

from nvfp4_serve.host.capability import TEGRA
from nvfp4_serve.host.cdi import KIND
from nvfp4_serve.host.types import Attach

#: containers/podman#25171: below, the Docker-compatible socket takes requests for GPUs
#: and drops them without a word (podman#22645, 4.9.3).
_PODMAN_CDI: Final = (5, 4)


@dataclass(frozen=True, slots=True)
class Answers:
    """What an engine says of itself.

    Attributes:
        engine: ``docker`` or ``podman``.
        version: Of the engine.
        rootless: It runs without root; None where it does not say.
        runtimes: OCI runtimes that it knows by name.
        cdi_spec_dirs: Where it looks for CDI specs; none where CDI is off.
        cdi_devices: CDI names of NVIDIA GPUs; None where it does not list them.
    """

    engine: str
    version: str | None
    rootless: bool | None
    runtimes: tuple[str, ...]
    cdi_spec_dirs: tuple[str, ...]
    cdi_devices: tuple[str, ...] | None


def read_answers(version: dict[str, Any], info: dict[str, Any]) -> Answers:
    """Return what ``GET /version`` and ``GET /info`` say.

    Source:
        Docker Engine API: `Runtimes`, `SecurityOptions`; `CDISpecDirs` (in 28.5, not in
        20.10); `DiscoveredDevices` since API 1.50, left out where there are none.
        Podman names itself in `Components`.
    """
    names = [_text(part.get("Name")) for part in _objects(version.get("Components"))]
    devices = info.get("DiscoveredDevices")
    return Answers(
        engine="podman" if "Podman Engine" in names else "docker",
        version=_text(version.get("Version")) or _text(info.get("ServerVersion")),
        rootless=_is_rootless(info),
        runtimes=_runtimes(info.get("Runtimes")),
        cdi_spec_dirs=_texts(info.get("CDISpecDirs")),
        cdi_devices=None if devices is None else _gpus_of(devices),
    )


def choose_attach(
    answers: Answers,
    devices: tuple[str, ...],
    capabilities: frozenset[tuple[int, int]],
    *,
    has_hook: bool,
) -> tuple[Attach, str]:
    """Return how to ask the engine for GPUs, and why in that way.

    Args:
        answers: What the engine says.
        devices: CDI names of NVIDIA GPUs.
        capabilities: Of the GPUs of the machine.
        has_hook: ``nvidia-container-runtime-hook`` is installed beside the engine.
    """
    if answers.engine == "podman":
        return _podman(answers, devices)
    has_runtime = "nvidia" in answers.runtimes
    if has_runtime and capabilities & TEGRA:
        return (
            Attach.RUNTIME,
            "Jetson: the toolkit refuses `--gpus`; the engine has the runtime `nvidia`",
        )
    if has_runtime:
        return Attach.DEVICE_REQUEST, "the engine has the runtime `nvidia`"
    if has_hook:
        return Attach.DEVICE_REQUEST, "`nvidia-container-runtime-hook` is installed"
    if devices and answers.cdi_spec_dirs:
        return Attach.CDI, f"no runtime `nvidia`; CDI lists {_some(devices)}"
    return Attach.NONE, f"no runtime `nvidia`, {_no_cdi(answers, devices)}"


def is_too_old(engine: str | None, version: str | None) -> bool:
    """Say whether an engine's socket cannot be trusted to do what it is asked."""
    return engine == "podman" and _release(version) < _PODMAN_CDI


def _podman(answers: Answers, devices: tuple[str, ...]) -> tuple[Attach, str]:
    if is_too_old(answers.engine, answers.version):
        return (
            Attach.NONE,
            (
                f"the socket of Podman {answers.version or '(no version)'} drops "
                "requests for GPUs without a word; 5.4 is the first that honours them"
            ),
        )
    if devices:
        return Attach.CDI, f"Podman; CDI lists {_some(devices)}"
    return Attach.NONE, f"Podman takes GPUs by CDI, {_no_cdi(answers, devices)}"


def _no_cdi(answers: Answers, devices: tuple[str, ...]) -> str:
    if answers.engine == "docker" and not answers.cdi_spec_dirs:
        return "and its CDI is off"
    assert not devices  # noqa: S101 - the caller asked for these first
    return f"and no CDI spec lists {KIND}"


def _some(devices: tuple[str, ...]) -> str:
    more = f" and {len(devices) - 1} more" if len(devices) > 1 else ""
    return f"{devices[0]}{more}"


def _release(version: str | None) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_rootless(info: dict[str, Any]) -> bool | None:
    options = info.get("SecurityOptions")
    if not isinstance(options, list):
        return None
    return any("name=rootless" in _text(option).split(",") for option in options)


def _gpus_of(devices: object) -> tuple[str, ...]:
    found = (_text(device.get("ID")) for device in _objects(devices))
    return tuple(sorted(name for name in found if name.startswith(f"{KIND}=")))


def _runtimes(runtimes: object) -> tuple[str, ...]:
    return tuple(sorted(runtimes)) if isinstance(runtimes, dict) else ()


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in _list(value) if isinstance(item, str))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
