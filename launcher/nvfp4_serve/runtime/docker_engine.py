"""Docker or Podman, over its socket. The only importer of the docker SDK."""

import io
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import docker
from docker.credentials.errors import StoreError
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from urllib3.exceptions import HTTPError

from nvfp4_serve.runtime.containers import (
    INSTANCE_LABEL,
    Body,
    EngineGoneError,
    EngineRefusedError,
    File,
    Found,
    Image,
    repository,
)

#: Seconds for one answer. Making a container from an image of 20 GiB can take some on
#: a slow disk; a start with GPUs takes seconds.
_TIMEOUT: Final = 120
#: Seconds in which an engine that fetches may say nothing: it unpacks layers of 10 GiB.
_UNPACKING: Final = 1800


class DockerEngine:
    """One engine at one address."""

    def __init__(self, address: str) -> None:
        """Connect to the engine.

        Raises:
            EngineGoneError: It does not answer.
        """
        self.address = address
        with _translated():
            self._api: Any = docker.APIClient(
                base_url=address, version="auto", timeout=_TIMEOUT
            )

    def find_image(self, ref: str) -> Image | None:
        """Return the image ``ref`` where the engine has it."""
        with _translated():
            try:
                return _image(ref, self._api.inspect_image(ref))
            except (ImageNotFound, NotFound):
                return None

    def pull(self, ref: str) -> Iterator[Mapping[str, Any]]:
        """Fetch ``ref``; yield what the engine reports meanwhile."""
        name = repository(ref)
        # The API takes a digest where it takes a tag, and not both.
        _, _, digest = ref.partition("@")
        tag = digest or ref.removeprefix(name)[1:] or "latest"
        with _translated():
            patient: Any = docker.APIClient(
                base_url=self.address,
                version=self._api.api_version,
                timeout=_UNPACKING,
            )
            for event in _asked(patient, name, tag):
                if text := event.get("error"):
                    raise EngineRefusedError(0, str(text))
                yield event

    def create(self, name: str, body: Body) -> str:
        """Make a container, and return its id."""
        with _translated():
            made = self._api.create_container_from_config(dict(body), name=name)
        return str(made["Id"])

    def put(self, container: str, folder: str, files: Iterable[File]) -> None:
        """Put ``files`` into ``folder`` of a container."""
        with _translated():
            self._api.put_archive(container, folder, _tar(files))

    def start(self, container: str) -> None:
        """Start a container."""
        with _translated():
            self._api.start(container)

    def find(self, container: str) -> Found | None:
        """Return the container of that name or id."""
        with _translated():
            try:
                return _found(self._api.inspect_container(container))
            except NotFound:
                return None

    def list_ours(self) -> tuple[Found, ...]:
        """Return every container that has our label, in whatever state."""
        with _translated():
            rows = self._api.containers(all=True, filters={"label": [INSTANCE_LABEL]})
        found = (self.find(row["Id"]) for row in rows)
        return tuple(sorted(filter(None, found), key=lambda one: one.name))

    def send(self, container: str, signal: str) -> None:
        """Send a signal to its first process; none where it does not run."""
        with _translated():
            try:
                self._api.kill(container, signal)
            except APIError as error:
                # 409: it does not run; 404: it was removed meanwhile.
                if error.status_code not in {404, 409}:
                    raise

    def set_restart(self, container: str, policy: str) -> None:
        """Say what the engine does when the container ends by itself."""
        with _translated():
            self._api.update_container(container, restart_policy={"Name": policy})

    def remove(self, container: str) -> None:
        """Remove a container that does not run, and its unnamed volumes."""
        with _translated():
            try:
                self._api.remove_container(container, v=True, force=False)
            except NotFound:
                return

    def logs(self, container: str, *, follow: bool) -> Iterator[bytes]:
        """Yield what the container has written; and what it will, until it ends."""
        with _translated():
            yield from self._api.logs(
                container, stdout=True, stderr=True, stream=True, follow=follow
            )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the SDK's errors into ours."""
    try:
        yield
    except APIError as error:
        raise EngineRefusedError(
            error.status_code or 0, str(error.explanation or error)
        ) from error
    # The errors of requests are OSErrors; a stream that breaks off shows urllib3's own.
    except (DockerException, HTTPError, OSError) as error:
        raise EngineGoneError(_reason(error)) from error


def _asked(
    client: docker.APIClient, name: str, tag: str
) -> Iterator[Mapping[str, Any]]:
    """Return what the engine reports while it fetches.

    The user's settings may name a program that keeps passwords; the SDK runs it, and
    that it fails says nothing of the engine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # The error says it too.
        try:
            events: Iterator[Mapping[str, Any]] = client.pull(
                name, tag=tag, stream=True, decode=True
            )
        except DockerException as error:
            if isinstance(error.__cause__, StoreError):
                text = f"credential store: {_reason(error)}"
                raise EngineRefusedError(0, text) from error
            raise
    return events


def _reason(error: BaseException) -> str:
    """Return the innermost words: what wraps them names classes of Python."""
    while isinstance(inner := error.__cause__ or error.__context__, Exception):
        error = inner
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words)


def _image(ref: str, said: Mapping[str, Any]) -> Image:
    config = said.get("Config") or {}
    return Image(
        ref=ref,
        id=str(said["Id"]),
        digests=tuple(said.get("RepoDigests") or ()),
        os=str(said["Os"]),
        architecture=str(said["Architecture"]),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        labels=dict(config.get("Labels") or {}),
    )


def _found(said: Mapping[str, Any]) -> Found:
    state = said["State"]
    return Found(
        id=str(said["Id"]),
        name=str(said["Name"]).removeprefix("/"),
        status=str(state["Status"]),
        exit_code=int(state["ExitCode"]),
        out_of_memory=bool(state["OOMKilled"]),
        pid=int(state["Pid"]),
        error=str(state.get("Error") or ""),
        restarts=int(said.get("RestartCount") or 0),
        labels=dict(said["Config"].get("Labels") or {}),
    )


def _tar(files: Iterable[File]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.uid, entry.gid = file.owner
            entry.mode = file.mode
            if file.content is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(file.content)
                tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
