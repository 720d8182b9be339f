"""Finds an image, or fetches it, and says how far that is."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.container_failures import gone_error, pull_error
from nvfp4_serve.runtime.containers import (
    ContainerEngine,
    EngineGoneError,
    EngineRefusedError,
    Image,
)
from nvfp4_serve.runtime.types import Say
from nvfp4_serve.units import format_bytes

#: Seconds between two lines.
_SAY_EVERY: Final = 5.0
#: The kernel's word for a CPU to the container engines' word.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
#: Letters of an image's name. What the engine makes of them is its business; none of
#: them leads to another question of its API.
_NAME: Final = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:/@+\[\]-]*")
_HERE: Final = frozenset({"Already exists", "Pull complete"})


@dataclass(slots=True)
class _Layer:
    total: int = 0
    fetched: int = 0
    is_here: bool = False


class PullProgress:
    """Adds up what the engine says of each layer.

    The engine names a layer before it says how large it is, so the whole is what is
    known so far; the line says of how many layers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._layers: dict[str, _Layer] = {}
        self._clock = clock
        self._began = clock()
        self._said = self._began

    def take(self, event: Mapping[str, Any]) -> str | None:
        """Take one event; return a line for the person who waits, now and then."""
        self._count(event)
        now = self._clock()
        if now - self._said < _SAY_EVERY:
            return None
        self._said = now
        return self._line(now - self._began)

    def _count(self, event: Mapping[str, Any]) -> None:
        status, name = str(event.get("status", "")), event.get("id")
        if not isinstance(name, str) or status.startswith("Pulling from"):
            return
        layer = self._layers.setdefault(name, _Layer())
        detail = event.get("progressDetail") or {}
        if status == "Downloading":
            layer.total = max(layer.total, int(detail.get("total") or 0))
            layer.fetched = int(detail.get("current") or 0)
        elif status in {"Download complete", "Verifying Checksum", "Extracting"}:
            layer.fetched = layer.total
        elif status in _HERE:
            layer.fetched, layer.is_here = layer.total, True

    def _line(self, seconds: float) -> str:
        layers = self._layers.values()
        fetched = sum(layer.fetched for layer in layers)
        total = sum(layer.total for layer in layers)
        done = sum(layer.is_here for layer in layers)
        line = (
            f"  {done} of {len(layers)} layers, {format_bytes(fetched)} of "
            f"{format_bytes(total)}"
        )
        speed = fetched / seconds if seconds > 0 else 0.0
        if not speed:
            return line
        left = (total - fetched) / speed
        return f"{line}, {format_bytes(int(speed))}/s, {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def find_image(engine: ContainerEngine, ref: str) -> Image | None:
    """Return the image ``ref`` where the engine has it.

    Raises:
        EngineError: That is no name of an image, or the engine does not answer.
    """
    if not _NAME.fullmatch(ref) or {"", ".", ".."} & set(ref.split("/")):
        raise pull_error(ref, EngineRefusedError(0, "invalid reference format"))
    try:
        return engine.find_image(ref)
    except EngineRefusedError as error:
        raise pull_error(ref, error) from error
    except EngineGoneError as error:
        raise gone_error(
            engine.address, error, f"Whether it has the image `{ref}` is not known."
        ) from error


def fetch_image(
    engine: ContainerEngine, ref: str, architecture: str, say: Say
) -> Image:
    """Return the image ``ref``; fetch it where the engine has it not.

    Args:
        engine: The container engine.
        ref: ``name:tag``, ``name@sha256:...``.
        architecture: The machine's, ``x86_64`` or ``aarch64``.
        say: Told of the progress.

    Raises:
        EngineError: It cannot be fetched, or is for another machine.
    """
    image = find_image(engine, ref)
    try:
        if image is None:
            _pull(engine, ref, say)
            image = engine.find_image(ref)
    except EngineRefusedError as error:
        raise pull_error(ref, error) from error
    except EngineGoneError as error:
        raise gone_error(
            engine.address, error, f"The image `{ref}` was not fetched."
        ) from error
    if image is None:
        raise EngineError(
            f"The engine says that it fetched `{ref}`, and has it not.",
            fix="Try again; `docker image ls` shows what it has.",
        )
    check_architecture(image, architecture)
    return image


def check_architecture(image: Image, architecture: str) -> None:
    """Check that ``image`` can run on a machine of ``architecture``.

    Raises:
        EngineError: It is for another.
    """
    wanted = _ARCHITECTURES.get(architecture, architecture)
    if (image.os, image.architecture) != ("linux", wanted):
        raise EngineError(
            f"The image `{image.ref}` is for {image.os}/{image.architecture}; this "
            f"machine is linux/{wanted}.",
            evidence=(image.exact,),
            fix="Take an image for this machine. Where its tag has several, fetch the "
            f"right one: `docker pull --platform linux/{wanted} {image.ref}`.",
        )


def _pull(engine: ContainerEngine, ref: str, say: Say) -> None:
    say(f"the image {ref} is not here; fetching it")
    progress = PullProgress()
    for event in engine.pull(ref):
        if line := progress.take(event):
            say(line)
