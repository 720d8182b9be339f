"""Names and JSON files of a checkpoint, all bounded. Takes text and bytes."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

import msgspec

from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.units import MIB, format_bytes

#: The largest config of the field (exclude lists of big MoE models) has about 1 MiB.
CONFIG_LIMIT: Final = 16 * MIB
#: The index of 282,000 tensors has 23 MiB.
INDEX_LIMIT: Final = 512 * MIB
#: Real configs are at most about 10 deep.
_MAX_DEPTH: Final = 64


def plain_path(name: str) -> PurePosixPath:
    """Return ``name`` as a path that stays below the checkpoint's folder.

    Raises:
        CheckpointError: It is absolute, climbs up, or is no name at all.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise CheckpointError(
            f"The checkpoint names the file {name!r}, outside of its folder.",
            fix="Do not use this checkpoint before you know who wrote that; a right "
            "index names its own shards only.",
        )
    return path


def check_size(size: int, *, label: str, limit: int) -> None:
    """Raise where a small file is too large to be one."""
    if size > limit:
        raise CheckpointError(
            f"`{label}` has {format_bytes(size)}; at most {format_bytes(limit)} are "
            "read.",
            fix="Check that this is the file that its name says.",
        )


def parse_object(data: bytes, *, label: str) -> Mapping[str, object]:
    """Return the JSON object that ``data`` holds.

    Raises:
        CheckpointError: It is not JSON, not an object, or nested too deep.
    """
    content = parse_json(data, label=label, kind=object)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"`{label}` is a {type(content).__name__}, not an object.",
            fix=_fix(data, label),
        )
    if _depth_exceeds(content, _MAX_DEPTH):
        raise _too_deep(label)
    return content


def parse_json(data: bytes, *, label: str, kind: object) -> object:
    """Return what ``data`` holds, as the type ``kind``."""
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise _too_deep(label) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = "not as it should be" if _is_json(error) else "not JSON"
        raise CheckpointError(
            f"`{label}` is {what}.",
            evidence=(str(error),),
            fix=_fix(data, label),
        ) from error


def _is_json(error: Exception) -> bool:
    return isinstance(error, msgspec.ValidationError)


def _too_deep(label: str) -> CheckpointError:
    return CheckpointError(
        f"`{label}` is nested more than {_MAX_DEPTH} deep.",
        fix=f"Take `{label}` from the original checkpoint.",
    )


def _fix(data: bytes, label: str) -> str:
    if data.startswith(b"version https://git-lfs"):
        return f"`{label}` is a git-lfs pointer; run `git lfs pull` there."
    return f"Take `{label}` from the original checkpoint."


def _depth_exceeds(content: object, limit: int) -> bool:
    level = [content]
    for _ in range(limit):
        level = [
            child
            for value in level
            for child in (
                value.values()
                if isinstance(value, dict)
                else value
                if isinstance(value, list)
                else ()
            )
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
