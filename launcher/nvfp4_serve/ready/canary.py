"""Reads ``canary.json``: prompts, and the very text that a right load answers with."""

import json
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import CheckpointError

_MAX_BYTES: Final = 1 << 20
_MAX_PROMPTS: Final = 64
_SHAPE: Final = (
    'Make it a JSON object of prompts and the texts that must follow, as {"Shall I": '
    '" compare thee"}, or remove the file.'
)


def read_canary(path: Path) -> tuple[tuple[str, str], ...]:
    """Return the pairs of prompt and expected text in ``path``.

    Raises:
        CheckpointError: It is not an object of texts, or is absurdly large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(
            f"`{path}` cannot be read: {error.strerror}.",
            fix="Fetch the checkpoint again, or correct the permissions.",
        ) from error
    if len(content) > _MAX_BYTES:
        raise _wrong(path, f"it is larger than {_MAX_BYTES} bytes")
    try:
        pairs = json.loads(content, object_pairs_hook=_Pairs)
    except ValueError as error:
        raise _wrong(path, f"it is not JSON ({error})") from error
    except RecursionError as error:
        raise _wrong(path, "it is nested too deeply") from error
    return _check(path, pairs)


class _Pairs(tuple[tuple[str, object], ...]):
    """A JSON object with its keys as they stand, double ones included."""

    __slots__ = ()


def _check(path: Path, pairs: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(pairs, _Pairs):
        raise _wrong(path, f"it holds a {type(pairs).__name__}, not an object")
    if not 1 <= len(pairs) <= _MAX_PROMPTS:
        raise _wrong(path, f"it has {len(pairs)} prompts, not 1 to {_MAX_PROMPTS}")
    prompts = [prompt for prompt, _ in pairs]
    if len(set(prompts)) < len(prompts):
        raise _wrong(path, "a prompt stands in it twice")
    checked = []
    for prompt, expected in pairs:
        if not prompt:
            raise _wrong(path, "a prompt is empty")
        if not isinstance(expected, str) or not expected:
            raise _wrong(path, f"the answer to {prompt[:40]!r} is not a text")
        checked.append((prompt, expected))
    return tuple(checked)


def _wrong(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"`{path}` is not a canary file: {why}.", fix=_SHAPE)
