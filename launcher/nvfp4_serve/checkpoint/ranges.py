"""Headers of shards by range requests, several shards at once.

Of a shard two ranges are read: the 8 bytes that tell the length of the header, and the
header; so not one byte of a weight is asked for. Opens no connection: it is given who
asks.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeAlias

from nvfp4_serve.checkpoint.header import PREFIX_BYTES, header_length
from nvfp4_serve.checkpoint.types import RawHeader
from nvfp4_serve.errors import CheckpointError

#: Shards that are asked for at the same time.
_PARALLEL: Final = 16
_PARTIAL_CONTENT: Final = 206


class Response(Protocol):
    """An answer whose body is not read yet."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def url(self) -> object: ...
    def iter_raw(self) -> Iterator[bytes]: ...


#: Asks for an address, on behalf of a file's name, with more headers.
Ask: TypeAlias = Callable[[str, str, dict[str, str]], AbstractContextManager[Response]]


def read_headers(
    names: Iterable[str], *, url_of: Callable[[str], str], ask: Ask
) -> Iterator[RawHeader | CheckpointError]:
    """Yield the header of each shard, in order, or why it cannot be had."""
    waiting = iter(names)
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="header")

    def submit(name: str) -> Future[RawHeader | CheckpointError]:
        return pool.submit(_read_header, name, url_of(name), ask)

    try:
        # A window and not everything at once: headers may be 100 MB each.
        under_way = deque(map(submit, islice(waiting, _PARALLEL)))
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(map(submit, islice(waiting, 1)))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_header(name: str, url: str, ask: Ask) -> RawHeader | CheckpointError:
    try:
        prefix = _read_range(name, url, 0, PREFIX_BYTES, ask)
        length = header_length(prefix.data, label=name, size=prefix.size)
        end = PREFIX_BYTES + length
        # The answer's own address: what redirected us need not do so again.
        header = _read_range(name, prefix.url, PREFIX_BYTES, end, ask)
    except CheckpointError as error:
        return error
    return RawHeader(name, header.data, header.size - end)


@dataclass(frozen=True, slots=True)
class _Range:
    """Some bytes of a file.

    Attributes:
        size: Of the whole file.
        url: Where it was found.
    """

    data: bytes
    size: int
    url: str


def _read_range(name: str, url: str, begin: int, end: int, ask: Ask) -> _Range:
    wanted = {"range": f"bytes={begin}-{end - 1}", "accept-encoding": "identity"}
    with ask(url, name, wanted) as response:
        if response.status_code != _PARTIAL_CONTENT:
            raise CheckpointError(
                f"The server does not serve ranges of `{name}`: asked for "
                f"{end - begin} bytes, it answers with status "
                f"{response.status_code} and the whole file.",
                fix="Download the checkpoint, and give its folder; a proxy that "
                "drops the Range header may be in between.",
            )
        size = _total_size(response.headers.get("content-range", ""), name)
        data = b"".join(_at_most(response.iter_raw(), end - begin))
        if len(data) < min(end, size) - begin:
            raise CheckpointError(
                f"The answer for `{name}` ended after {len(data):,} of "
                f"{end - begin:,} bytes.",
                fix="Try again; the connection or a proxy cut it.",
            )
        return _Range(data, size, str(response.url))


def _at_most(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield ``chunks`` up to ``limit`` bytes, whatever a server sends."""
    left = limit
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


def _total_size(content_range: str, name: str) -> int:
    """Return the size in ``bytes 0-7/1234``."""
    total = content_range.rpartition("/")[2]
    if not total.isdigit():
        raise CheckpointError(
            f"The server does not say how large `{name}` is "
            f"(Content-Range: {content_range or 'absent'}).",
            fix="Download the checkpoint, and give its folder.",
        )
    return int(total)
