"""What a container engine takes and gives. Values, one protocol, and two errors."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

#: Every label of ours begins so; `ps`, `logs` and `stop` find our containers by it.
LABEL: Final = "org.nvfp4-serve"
#: The id of the instance; each container of ours has it.
INSTANCE_LABEL: Final = f"{LABEL}.instance"

#: The body of ``POST /containers/create``, in the words of the engine's own API.
Body = Mapping[str, Any]


class EngineRefusedError(Exception):
    """The container engine answered, and did not do it.

    Attributes:
        status: Of HTTP; 0 where the failure came in the stream of an answer.
        text: The engine's own words.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class EngineGoneError(Exception):
    """The container engine did not answer, or broke off."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine has.

    Attributes:
        ref: What it was asked for as.
        id: ``sha256:...`` of its configuration; it cannot come to mean another.
        digests: ``name@sha256:...`` for each registry that it is known to be in.
        os: ``linux``.
        architecture: In the engine's words, ``amd64`` or ``arm64``.
        entrypoint: What it runs by itself.
        labels: Of the image.
    """

    ref: str
    id: str
    digests: tuple[str, ...]
    os: str
    architecture: str
    entrypoint: tuple[str, ...]
    labels: Mapping[str, str]

    @property
    def exact(self) -> str:
        """A name that can only mean this image: a digest, else its own id."""
        name = repository(self.ref)
        named = [digest for digest in self.digests if digest.startswith(f"{name}@")]
        return next(iter((*named, *self.digests)), self.id)


@dataclass(frozen=True, slots=True)
class Found:
    """A container, as the engine describes it.

    Attributes:
        status: ``created``, ``running``, ``restarting``, ``exited``, ...
        exit_code: Of its first process; of no use while it runs.
        out_of_memory: The kernel killed a process of it for its memory.
        pid: Of its first process on the engine's machine; 0: none.
        error: Why the engine could not start it, in its words.
    """

    id: str
    name: str
    status: str
    exit_code: int
    out_of_memory: bool
    pid: int
    error: str
    restarts: int
    labels: Mapping[str, str]

    @property
    def is_alive(self) -> bool:
        """True while it has processes, or will have some without being asked."""
        return self.status in {"running", "paused", "restarting", "stopping"}


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder that is put into a container before it starts.

    Attributes:
        name: Below the folder that it is put into.
        content: None: a folder.
        owner: uid and gid.
    """

    name: str
    content: bytes | None
    owner: tuple[int, int]
    mode: int


class ContainerEngine(Protocol):
    """What we want of Docker or Podman.

    Every method raises EngineRefusedError where the engine says no, and EngineGoneError
    where it says nothing.
    """

    address: str

    def find_image(self, ref: str) -> Image | None:
        """Return the image ``ref`` where the engine has it."""
        ...

    def pull(self, ref: str) -> Iterator[Mapping[str, Any]]:
        """Fetch ``ref``; yield what the engine reports meanwhile."""
        ...

    def create(self, name: str, body: Body) -> str:
        """Make a container, and return its id."""
        ...

    def put(self, container: str, folder: str, files: Iterable[File]) -> None:
        """Put ``files`` into ``folder`` of a container."""
        ...

    def start(self, container: str) -> None:
        """Start a container."""
        ...

    def find(self, container: str) -> Found | None:
        """Return the container of that name or id."""
        ...

    def list_ours(self) -> tuple[Found, ...]:
        """Return every container that has our label, in whatever state."""
        ...

    def send(self, container: str, signal: str) -> None:
        """Send a signal to its first process; none where it does not run."""
        ...

    def set_restart(self, container: str, policy: str) -> None:
        """Say what the engine does when the container ends by itself."""
        ...

    def remove(self, container: str) -> None:
        """Remove a container that does not run, and its unnamed volumes."""
        ...

    def logs(self, container: str, *, follow: bool) -> Iterator[bytes]:
        """Yield what the container has written; and what it will, until it ends."""
        ...


def repository(ref: str) -> str:
    """Return ``host:5000/name`` of ``host:5000/name:tag`` or ``...@sha256:...``."""
    name = ref.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
