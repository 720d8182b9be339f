"""A model on the Hugging Face Hub. The only module that uses the network.

Small files are read whole; of a shard ``ranges`` reads the header only.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

# Read once, when huggingface_hub is imported: what we do is nobody's statistics.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import HfApi, constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# What its HTTP client raises and answers; which client that is changes with versions.
from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined]
from huggingface_hub.errors import Response as HubResponse  # type: ignore[attr-defined]
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    http_stream_backoff,
    validate_repo_id,
)

from nvfp4_serve import __version__
from nvfp4_serve.checkpoint.folder import Folder
from nvfp4_serve.checkpoint.ranges import read_headers
from nvfp4_serve.checkpoint.read import Where, read_files
from nvfp4_serve.checkpoint.smallfile import check_size
from nvfp4_serve.checkpoint.types import Checkpoint, RawHeader
from nvfp4_serve.errors import CheckpointError

#: Times that a busy Hub (429, 5xx) is asked again, and seconds before the first.
_RETRIES: Final = 2
_RETRY_WAIT: Final = 0.2
#: The same weights in another format, which nobody loads beside safetensors; and what
#: is there for people.
_OTHER_WEIGHTS: Final = re.compile(
    r"\.(bin|pt|pth|gguf|onnx|onnx_data|h5|msgpack|ckpt|tflite|ot|md|png|jpe?g|gif|svg|pdf)$"
    r"|^(original|onnx|coreml|openvino|\.git\w*|LICENSE[^/]*|\.eval_results)(/|$)"
)
_RANGE_NOT_SATISFIABLE: Final = 416
_LOG_IN: Final = "Log in with `hf auth login`, or set HF_TOKEN."

# Its warnings of retries are not ours to print; errors reach the user as ours.
if "HF_HUB_VERBOSITY" not in os.environ:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


class NotReachedError(CheckpointError):
    """The Hub did not answer at all."""


def read_from_hub(model: str, *, revision: str | None) -> Checkpoint:
    """Return what the small files and the headers of the Hub's ``model`` say.

    One commit is read: the one that ``revision`` names now. If the local cache holds
    all of it, or the Hub cannot be reached and the cache holds ``revision``, the
    cache is read and the network left alone.

    Raises:
        CheckpointError: There is no such model, it may not be read, the network or
            the Hub failed, or the checkpoint is malformed.
    """
    _check_id(model)
    try:
        files = HubFiles.at(model, revision)
    except NotReachedError:
        cached = _cached_snapshot(model, revision)
        if cached is None:
            raise
        return _read_snapshot(model, cached)
    cached = _cached_snapshot(model, files.commit)
    if cached is not None and files.are_in(cached):
        return _read_snapshot(model, cached)
    return read_files(files, Where(model, None, files.commit))


class HubFiles:
    """The files of one commit of one model."""

    def __init__(self, model: str, commit: str, names: tuple[str, ...]) -> None:
        self.model = model
        self.commit = commit
        self._names = names
        self._headers = build_hf_headers(
            library_name="nvfp4-serve", library_version=__version__
        )
        self._endpoint_host = _host(constants.ENDPOINT)

    @classmethod
    def at(cls, model: str, revision: str | None) -> "HubFiles":
        """Ask the Hub which commit ``revision`` is, and which files it has."""
        with _translated(model, revision=revision):
            try:
                info = HfApi().model_info(
                    model, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
                )
                commit = info.sha
            except (ValueError, KeyError, TypeError) as error:
                raise _not_a_hub(error) from error
        if commit is None:
            raise _not_a_hub("the answer names no commit")
        names = tuple(sorted(file.rfilename for file in info.siblings or ()))
        return cls(model, commit, names)

    def names(self) -> tuple[str, ...]:
        """Return the names of all files."""
        return self._names

    def are_in(self, snapshot: Path) -> bool:
        """Return whether ``snapshot`` holds every file that an engine may want.

        Tokenizers, templates and code too: an engine that starts from the cache may
        not ask the Hub for them.
        """
        wanted = (name for name in self._names if not _OTHER_WEIGHTS.search(name))
        return all((snapshot / name).is_file() for name in wanted)

    def read_small(self, name: str, *, limit: int) -> bytes:
        """Return a file whole, if it has at most ``limit`` bytes."""
        with self._open(self._url(name), name, {}) as response:
            declared = response.headers.get("content-length", "0")
            check_size(int(declared), label=name, limit=limit)
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                check_size(len(data), label=name, limit=limit)
            return bytes(data)

    def read_headers(
        self, names: Iterable[str]
    ) -> Iterator[RawHeader | CheckpointError]:
        """Yield the header of each shard, in order; several are under way at once."""
        return read_headers(names, url_of=self._url, ask=self._open)

    def read_scalars(self, name: str, offsets: Iterable[int]) -> list[bytes] | None:
        """Return None: to ask the Hub for 4 bytes takes as long as for a header."""
        del name, offsets
        return None

    def _url(self, name: str) -> str:
        return hf_hub_url(
            self.model, name, revision=self.commit, endpoint=constants.ENDPOINT
        )

    @contextmanager
    def _open(
        self, url: str, name: str, extra: dict[str, str]
    ) -> Iterator[HubResponse]:
        headers = {**self._headers, **extra}
        if _host(url) != self._endpoint_host:
            headers.pop("authorization", None)
        with (
            _translated(self.model, name=name, revision=self.commit),
            http_stream_backoff(
                "GET",
                url,
                # A failed connection is not tried again here: that would close the
                # client under the other threads.
                retry_on_exceptions=(),
                max_retries=_RETRIES,
                base_wait_time=_RETRY_WAIT,
                headers=headers,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                follow_redirects=True,
            ) as response,
        ):
            if response.status_code == _RANGE_NOT_SATISFIABLE:
                raise CheckpointError(
                    f"`{name}` is too short for a safetensors file.",
                    fix="The upload is broken; use another revision.",
                )
            hf_raise_for_status(response)
            yield response


def _check_id(model: str) -> None:
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise CheckpointError(
            f"{model!r} is neither a folder nor the id of a model on the Hub.",
            evidence=(str(error),),
            fix="Check the path, or give an id as `owner/name`.",
        ) from error


def _cached_snapshot(model: str, revision: str | None) -> Path | None:
    """Return the folder of ``revision`` in the local cache, if it is there."""
    found = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def downloaded_bytes(model: str) -> int:
    """Return the bytes of ``model`` that the local cache holds, of any revision.

    A download that was cut off is counted as far as it came.
    """
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(
        repo_id=model, repo_type="model"
    )
    return sum(p.stat().st_size for p in (blobs / "blobs").glob("*") if p.is_file())


def _read_snapshot(model: str, snapshot: Path) -> Checkpoint:
    where = Where(model, str(snapshot), snapshot.name)
    return read_files(Folder(snapshot), where)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _not_a_hub(what: object) -> CheckpointError:
    return CheckpointError(
        f"{constants.ENDPOINT} does not answer like a Hub.",
        evidence=(str(what),),
        fix="Check HF_ENDPOINT, and whether a proxy or a login page answers instead.",
    )


@contextmanager
def _translated(
    model: str, *, revision: str | None, name: str | None = None
) -> Iterator[None]:
    """Raise whatever huggingface_hub and its client raise as an error of ours."""
    what = f"`{name}` of `{model}`" if name else f"`{model}`"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise NotReachedError(
            f"{what} is not complete in the local cache, and HF_HUB_OFFLINE is set.",
            fix="Unset HF_HUB_OFFLINE, or download the model first.",
        ) from error
    except HfHubHTTPError as error:
        raise _refused(error, model=model, what=what, revision=revision) from error
    except ClientError as error:
        raise NotReachedError(
            f"The Hub at {constants.ENDPOINT} cannot be reached for {what}.",
            evidence=(f"{type(error).__name__}: {error}",),
            fix="Check the network, the proxy and HF_ENDPOINT; a folder that is "
            "already here can be given by its path.",
        ) from error


def _refused(
    error: HfHubHTTPError, *, model: str, what: str, revision: str | None
) -> CheckpointError:
    """Return the error for an answer that says no."""
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            f"`{model}` is gated, and you have no access.",
            fix=f"Accept its terms at {constants.ENDPOINT}/{model}. {_LOG_IN}",
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointError(
            f"`{model}` has no revision {revision!r}.",
            fix="Give a branch, a tag or a commit that it has.",
        )
    if isinstance(error, EntryNotFoundError):
        return CheckpointError(
            f"{what} is missing on the Hub.",
            fix="The upload is incomplete; use another revision.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"There is no model `{model}` on the Hub that you may see.",
            evidence=(f"status {status} from {constants.ENDPOINT}",),
            fix=f"Check the id. If it is private: {_LOG_IN} If you meant a folder, "
            "begin its path with `./`.",
        )
    return CheckpointError(
        f"The Hub answers with status {status} for {what}.",
        evidence=(str(error).splitlines()[0],),
        fix=_LOG_IN if status in (401, 403) else "Wait a little, and try again.",
    )
