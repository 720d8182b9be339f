"""The files of a local checkpoint folder. Opens nothing outside of it."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from nvfp4_serve.checkpoint.header import PREFIX_BYTES, read_header
from nvfp4_serve.checkpoint.smallfile import check_size, plain_path
from nvfp4_serve.checkpoint.types import RawHeader
from nvfp4_serve.errors import CheckpointError

#: What huggingface_hub 2.4 puts into the store of blobs that all models share.
_SHARED_BLOBS_MARKER: Final = ".huggingface-shared-blobs"


class Folder:
    """A local folder, which may be a snapshot in the Hub's cache.

    Files of a snapshot are links to ``../../blobs/<digest>``, and since
    huggingface_hub 2 perhaps on to the cache's own ``blobs``. These two folders and
    the snapshot itself are all that a name may lead to.
    """

    def __init__(self, path: Path, *, shown: str | None = None) -> None:
        """Take ``path``; messages show it as ``shown``, as the user gave it."""
        self.path = path
        self._shown = shown or str(path)
        try:
            root = path.resolve()
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"The folder `{self._shown}` cannot be read: its links form a loop.",
                fix="Check the path.",
            ) from error
        self._allowed = (root, *_hub_blobs(root))

    def names(self) -> tuple[str, ...]:
        """Return the names in the folder, sorted.

        Raises:
            CheckpointError: It is not there, not a folder, or closed to us.
        """
        try:
            return tuple(sorted(entry.name for entry in self.path.iterdir()))
        except FileNotFoundError as error:
            raise CheckpointError(
                f"There is no folder `{self._shown}`.",
                fix="Check the path; a Hub id is written `owner/name`.",
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"The folder `{self._shown}` cannot be read: {error.strerror}.",
                fix="Check that it is a folder and who may read it.",
            ) from error

    def read_small(self, name: str, *, limit: int) -> bytes:
        """Return the file ``name``, if it has at most ``limit`` bytes."""
        with self._open(name) as file:
            check_size(_size(file), label=name, limit=limit)
            return file.read()

    def read_headers(
        self, names: Iterable[str]
    ) -> Iterator[RawHeader | CheckpointError]:
        """Yield the header of each shard, or why it cannot be had."""
        for name in names:
            try:
                with self._open(name) as file:
                    size = _size(file)
                    raw = read_header(file, label=name, size=size)
            except CheckpointError as error:
                yield error
            except OSError as error:
                yield _cannot_read(name, error)
            else:
                yield RawHeader(name, raw, size - PREFIX_BYTES - len(raw))

    def read_scalars(self, name: str, offsets: Iterable[int]) -> list[bytes] | None:
        """Return the 4 bytes at each of ``offsets`` of the body of a shard."""
        try:
            with self._open(name) as file:
                body = PREFIX_BYTES + int.from_bytes(file.read(PREFIX_BYTES), "little")
                return [os.pread(file.fileno(), 4, body + at) for at in offsets]
        except (CheckpointError, OSError):
            return None  # The header could be read; what is wrong now, vLLM will say.

    def _open(self, name: str) -> BinaryIO:
        """Open the regular file ``name``, unbuffered: not a byte is read ahead."""
        path = self.path / plain_path(name)
        try:
            target = path.resolve(strict=True)
            if not any(target.is_relative_to(folder) for folder in self._allowed):
                raise CheckpointError(
                    f"`{name}` leads to `{target}`, outside of the checkpoint.",
                    fix="Copy the file into the folder, if it belongs there.",
                )
            if not stat.S_ISREG(target.stat().st_mode):
                raise CheckpointError(
                    f"`{name}` is not a regular file.",
                    fix="Remove it from the folder, or download the checkpoint again.",
                )
            return target.open("rb", buffering=0)
        except (OSError, RuntimeError) as error:
            raise _cannot_read(name, error) from error


def _hub_blobs(root: Path) -> tuple[Path, ...]:
    """Return where the files of a snapshot in the Hub's cache are; else nothing."""
    if root.parent.name != "snapshots":
        return ()
    model = root.parent.parent
    shared = model.parent / "blobs"
    own = (model / "blobs",)
    return (*own, shared) if (shared / _SHARED_BLOBS_MARKER).exists() else own


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _cannot_read(name: str, error: Exception) -> CheckpointError:
    if isinstance(error, FileNotFoundError):
        return CheckpointError(
            f"`{name}` is missing.",
            fix="Download the checkpoint again; this file of it is not there.",
        )
    reason = error.strerror if isinstance(error, OSError) else "its links form a loop"
    return CheckpointError(
        f"`{name}` cannot be read: {reason}.",
        fix="Check the file and who may read it.",
    )
