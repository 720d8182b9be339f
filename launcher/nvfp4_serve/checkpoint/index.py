"""Which shards there are, and which tensors the index says are in them. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Final, Literal

import msgspec

from nvfp4_serve.checkpoint.smallfile import parse_json, plain_path
from nvfp4_serve.errors import CheckpointError

INDEX_FILE: Final = "model.safetensors.index.json"
ENDING: Final = ".safetensors"
_OTHER_ENDINGS: Final = (".bin", ".gguf", ".pt", ".pth", ".ckpt", ".h5", ".onnx")
_NUMBERED: Final = re.compile(r"(.*)-(\d{1,9})-of-(\d{1,9})\.safetensors")
_CONSOLIDATED: Final = re.compile(r"consolidated[^/]*\.safetensors")
_MOST_SHARDS: Final = 10_000

#: The members are decoded in pieces of so many bytes: dictionaries that stay in the
#: processor's cache. Seen with 282,000 tensors: 0.06 s so, 0.12 s in one.
_PIECE_BYTES: Final = 1 << 16
_MEMBERS: Final = re.compile(rb'"weight_map"\s*:\s*\{')


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class Index:
    """What the index says.

    Attributes:
        listed: Shard to the tensors that the index says are in it.
    """

    def __init__(self, data: bytes, listed: Mapping[str, list[str]]) -> None:
        self._data = data
        self.listed = listed

    @cached_property
    def weight_map(self) -> Mapping[str, str]:
        """Tensor to the shard that holds it.

        Asked for only where the index and the shards disagree: it is large.
        """
        return _weight_map(self._data)

    def lists(self, shard: str, header: AbstractSet[str]) -> bool:
        """Return whether ``shard`` has the tensors that are listed, and no other."""
        return set(self.listed[shard]) == header


def parse_index(data: bytes, names: tuple[str, ...]) -> Index:
    """Return what the index says.

    The names of the shards that exist are given to the decoder, which then makes no
    text of its own for each of 282,000 tensors. An index that names another file is
    decoded again, plainly, so that it can be said which.

    Raises:
        CheckpointError: It is not such an index, or names no tensor.
    """
    listed: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for piece in _pieces(data, tuple(n for n in names if n.endswith(ENDING))):
            _list(piece, listed)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        listed.clear()
        _list(_weight_map(data), listed)
    if not listed:
        raise CheckpointError(
            f"`{INDEX_FILE}` names no tensor.", fix="Export the checkpoint again."
        )
    return Index(data, listed)


def choose_shards(names: tuple[str, ...], index: Index | None) -> tuple[str, ...]:
    """Return the files that hold the weights, sorted: those that vLLM loads.

    Those of the index; without one every ``.safetensors`` file of the folder itself
    (0.32.0, ``default_loader.py`` and ``filter_duplicate_safetensors_files``).
    ``consolidated`` has the exception.

    Raises:
        CheckpointError: There is none, with what is there instead; or without an
            index the names say that some are missing.
    """
    if index is not None:
        return tuple(sorted(index.listed))
    own = tuple(name for name in names if name.endswith(ENDING) and "/" not in name)
    shards = tuple(name for name in own if not _CONSOLIDATED.fullmatch(name)) or own
    if not shards:
        raise _no_weights(names)
    missing = list(_missing(shards))
    if missing:
        raise CheckpointError(
            f"There is no `{INDEX_FILE}`, and {len(missing):,} of the shards that the "
            "others count are missing.",
            evidence=tuple(missing[:8]),
            fix="Download the checkpoint again, with every file.",
        )
    return shards


def consolidated(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files that make vLLM read Mistral's own format.

    Where there is one, vLLM 0.32.0 loads these, and none of the others
    (``default_loader.py``, ``load_format`` ``auto``).
    """
    return tuple(name for name in names if _CONSOLIDATED.fullmatch(name))


def _missing(shards: tuple[str, ...]) -> Iterator[str]:
    """Yield each shard that by the number in the names of the others should be there.

    ``model-00001-of-00003.safetensors`` counts to 3.
    """
    present = set(shards)
    series = {(m[1], m[3]): len(m[2]) for m in map(_NUMBERED.fullmatch, shards) if m}
    for (stem, total), width in sorted(series.items()):
        # No folder has so many files; do not count to what a hostile name says.
        for number in range(1, min(int(total), _MOST_SHARDS) + 1):
            name = f"{stem}-{number:0{width}d}-of-{total}{ENDING}"
            if name not in present:
                yield name


def outside(shards: tuple[str, ...]) -> list[CheckpointError]:
    """Return one error for every shard that is named outside of the folder."""
    faults = []
    for name in shards:
        try:
            plain_path(name)
        except CheckpointError as error:
            faults.append(error)
    return faults


def _pieces(data: bytes, shards: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    """Yield the members of the index, some at a time, in order.

    Raises:
        msgspec.MsgspecError: The index is not plain enough for that. Wherever the
            cuts are: pieces that are objects each are one object together.
    """
    opening = _MEMBERS.search(data)
    if opening is None or not shards:
        raise msgspec.DecodeError
    begin, end = opening.end(), data.find(b"}", opening.end())
    _check_place(data[:begin], data[end:], shards[0])
    decoder = msgspec.json.Decoder(dict[str, Literal[shards]])  # type: ignore[valid-type]
    while begin < end:
        comma = data.find(b",", begin + _PIECE_BYTES, end)
        cut = end if comma < 0 else comma
        yield decoder.decode(b"{%b}" % data[begin:cut])
        begin = cut + 1


def _list(members: Mapping[str, str], listed: dict[str, list[str]]) -> None:
    shards = set(members.values())
    if len(shards) == 1:
        listed[shards.pop()] += members
        return
    for name, shard in members.items():
        listed[shard].append(name)


def _check_place(before: bytes, behind: bytes, shard: str) -> None:
    """Raise unless what stands between the two is all of the ``weight_map``."""
    for probe in ({}, {"a": shard}):
        members = msgspec.json.encode(probe)[1:-1]
        if msgspec.json.decode(before + members + behind, type=_Index) != _Index(probe):
            raise msgspec.DecodeError


def _weight_map(data: bytes) -> Mapping[str, str]:
    index = parse_json(data, label=INDEX_FILE, kind=_Index)
    return index.weight_map  # type: ignore[attr-defined,no-any-return]


def _no_weights(names: tuple[str, ...]) -> CheckpointError:
    others = [name for name in names if name.endswith(_OTHER_ENDINGS)]
    if others:
        return CheckpointError(
            f"There is no {ENDING} file; the weights are in another format.",
            evidence=tuple(others[:8]),
            fix="Use a checkpoint in safetensors, or convert this one.",
        )
    return CheckpointError(
        f"There is no {ENDING} file.",
        evidence=(f"files there: {', '.join(names[:8]) or 'none'}",),
        fix="Give the folder that holds config.json and the weights.",
    )
