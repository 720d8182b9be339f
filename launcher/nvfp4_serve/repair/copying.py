"""Bytes from one open file into another: shared, copied by the kernel, or read.

The only module that knows how. In this order: blocks are shared (``FICLONERANGE``:
btrfs, xfs, ...), copied within the kernel (``copy_file_range``), or read and written.
"""

import errno
import fcntl
import os
import struct
from typing import Final, Protocol

from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.repair.shards import BLOCK, shared_part
from nvfp4_serve.repair.types import Span

#: Source: Linux, ``include/uapi/linux/fs.h``.
_FICLONERANGE: Final = 0x4020940D
_NOT_SHARED: Final = {
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EPERM,
    errno.EBADF,
}
#: A call of the kernel is not interrupted; so much is a tenth of a second.
_AT_ONCE: Final = 64 << 20
_READ_AT_ONCE: Final = 4 << 20


class Copier(Protocol):
    """Copies bytes between open files."""

    def copy(self, source: int, target: int, span: Span) -> int:
        """Copy ``span``; return how many bytes of it are shared."""
        ...


class KernelCopier:
    """Copies in the best way that the two files allow.

    Args:
        share: Whether to try to share blocks.
        in_kernel: Whether to try to copy within the kernel.
    """

    def __init__(self, *, share: bool = True, in_kernel: bool = True) -> None:
        self._share = share
        self._in_kernel = in_kernel

    def copy(self, source: int, target: int, span: Span) -> int:
        """Copy ``span``; return how many bytes of it are shared.

        Raises:
            CheckpointError: The source ends before.
        """
        whole = shared_part(span) if self._share else None
        if whole is None or not _shared(source, target, whole):
            self._copy(source, target, span)
            return 0
        before = whole.source_at - span.source_at
        self._copy(source, target, Span(span.source_at, span.target_at, before))
        done = before + whole.length
        rest = Span(span.source_at + done, span.target_at + done, span.length - done)
        self._copy(source, target, rest)
        return whole.length

    def _copy(self, source: int, target: int, span: Span) -> None:
        done = self._within_kernel(source, target, span) if self._in_kernel else 0
        while done < span.length:
            count = min(span.length - done, _READ_AT_ONCE)
            data = os.pread(source, count, span.source_at + done)
            if not data:
                raise CheckpointError(
                    "A file of the checkpoint ends before its headers say.",
                    evidence=(f"at byte {span.source_at + done:,}",),
                    fix="It was changed meanwhile; let nothing write there, and run "
                    "this again.",
                )
            write_all(target, data, span.target_at + done)
            done += len(data)

    def _within_kernel(self, source: int, target: int, span: Span) -> int:
        """Return how many bytes the kernel copied; the rest has to be read."""
        done = 0
        while done < span.length:
            try:
                at = span.target_at + done
                # Each call but the last ends at a block, so that none has two writers.
                count = min(span.length - done, _AT_ONCE - at % BLOCK)
                count = os.copy_file_range(
                    source, target, count, span.source_at + done, at
                )
            except OSError as error:
                if error.errno not in _NOT_SHARED:
                    raise
                return done
            if count == 0:
                return done
            done += count
        return done


def write_all(target: int, data: bytes, at: int) -> None:
    """Write ``data`` at ``at``, all of it."""
    view = memoryview(data)
    while view:
        count = os.pwrite(target, view, at)
        view, at = view[count:], at + count


def _shared(source: int, target: int, span: Span) -> bool:
    """Share whole blocks; return False where the file system cannot."""
    words = struct.pack("=qQQQ", source, span.source_at, span.length, span.target_at)
    try:
        fcntl.ioctl(target, _FICLONERANGE, words)
    except OSError as error:
        if error.errno not in _NOT_SHARED:
            raise
        return False
    return True


def can_share(source: int, target: int) -> bool:
    """Share the first block with an empty file, and return whether that is possible."""
    return _shared(source, target, Span(0, 0, BLOCK))
