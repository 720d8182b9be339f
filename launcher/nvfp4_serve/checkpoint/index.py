"""Which shards there are, and which tensors the index says are in them. Pure."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from nvfp4_serve.checkpoint.smallfile import parse_json, plain_path
from nvfp4_serve.errors import CheckpointError

INDEX_FILE: Final = "model.safetensors.index.json"
SINGLE_FILE: Final = "model.safetensors"
ENDING: Final = ".safetensors"
_OTHER_ENDINGS: Final = (".bin", ".gguf", ".pt", ".pth", ".ckpt", ".h5", ".onnx")

#: Tensor to the shard that holds it.
WeightMap: TypeAlias = Mapping[str, str]


def parse_index(data: bytes, names: tuple[str, ...]) -> WeightMap:
    """Return what the index says.

    The names of the shards that exist are given to the decoder, which then makes no
    text of its own for each of 282,000 tensors. An index that names another file is
    decoded again, plainly, so that it can be said which.

    Raises:
        CheckpointError: It is not such an index, or names no tensor.
    """
    shards = tuple(name for name in names if name.endswith(ENDING))
    try:
        weight_map = _decode(data, Literal[shards]) if shards else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        weight_map = None
    if weight_map is None:
        index = parse_json(data, label=INDEX_FILE, kind=_index_of(str))
        weight_map = index.weight_map  # type: ignore[attr-defined]
    if not weight_map:
        raise CheckpointError(
            f"`{INDEX_FILE}` names no tensor.", fix="Export the checkpoint again."
        )
    return weight_map


def choose_shards(
    names: tuple[str, ...], weight_map: WeightMap | None
) -> tuple[str, ...]:
    """Return the files that hold the weights, sorted.

    Those of the index; without one ``model.safetensors``; without that every
    ``.safetensors`` file, as vLLM does.

    Raises:
        CheckpointError: There is none, with what is there instead.
    """
    if weight_map is not None:
        return tuple(sorted(set(weight_map.values())))
    if SINGLE_FILE in names:
        return (SINGLE_FILE,)
    shards = tuple(name for name in names if name.endswith(ENDING) and "/" not in name)
    if shards:
        return shards
    raise _no_weights(names)


def outside(shards: tuple[str, ...]) -> list[CheckpointError]:
    """Return one error for every shard that is named outside of the folder."""
    faults = []
    for name in shards:
        try:
            plain_path(name)
        except CheckpointError as error:
            faults.append(error)
    return faults


def _decode(data: bytes, shard: object) -> WeightMap:
    index = msgspec.json.decode(data, type=_index_of(shard))
    return index.weight_map  # type: ignore[attr-defined,no-any-return]


def _index_of(shard: object) -> type[msgspec.Struct]:
    """Return the type of an index whose values are of the type ``shard``."""
    fields = [("weight_map", dict[str, shard])]  # type: ignore[valid-type]
    return msgspec.defstruct("Index", fields, gc=False)


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
