"""The config that the tensors ask for, on the command line. Pure.

vLLM sets a dict of ``--hf-overrides`` in the place of the config's own value, whole.
"""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from nvfp4_serve.checkpoint.types import Layout, Overlay
from nvfp4_serve.errors import CheckpointError, UsageError
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.nested import Nested, read_nested

#: vLLM's flag for another config than the files'.
OVERRIDES: Final = "--hf-overrides"
_FLAG: Final = OVERRIDES
_CONFIG: Final = "quantization_config"
_SOURCE: Final = (
    "the tensors' headers; vLLM 0.32.0, config/model.py, _apply_dict_overrides"
)
#: Bytes of one word of a command line, its closing zero left out. Linux,
#: ``include/uapi/linux/binfmts.h``, ``MAX_ARG_STRLEN``: 32 pages.
_LONGEST_WORD: Final = 32 * 4096 - 1
_REPAIR: Final = (
    "`nvfp4-serve repair SRC DST` writes a copy whose config.json is right, and "
    "which needs no overlay."
)


class Overlaid(NamedTuple):
    """What the overlay makes of the command line.

    Attributes:
        choices: The flag; none where the checkpoint's own config is right.
        extra: The user's words; without those that are in the flag already.
    """

    choices: tuple[Choice, ...]
    extra: tuple[str, ...]


def lay_over(
    layout: Layout, extra: tuple[str, ...], quantization: str | None
) -> Overlaid:
    """Return the flag that passes the overlay of ``layout``, and the user's words.

    Args:
        layout: The checkpoint.
        extra: The words after ``--``.
        quantization: ``--quantization``, where it is among them.

    Raises:
        UsageError: The user's words say otherwise.
        CheckpointError: The config is too long for a command line.
    """
    overlay = layout.overlay
    if overlay is None:
        return Overlaid((), extra)
    _check_quantization(overlay, quantization)
    given = read_nested(extra, _FLAG)
    _check_given(overlay, given)
    why = " ".join(overlay.changes)
    if given.keys:
        # vLLM gathers keys behind dots into one object, which replaces any other.
        text = _compact(overlay.quantization_config)
        choice = Choice(f"{_FLAG}.{_CONFIG}", text, why, _SOURCE)
        return Overlaid((_checked(choice),), extra)
    if given.whole is not None:
        why += " Your own keys are in it too."
    merged = {**(given.whole or {}), _CONFIG: overlay.quantization_config}
    choice = Choice(_FLAG, _compact(merged), why, _SOURCE)
    return Overlaid((_checked(choice),), given.others)


def _check_quantization(overlay: Overlay, asked: str | None) -> None:
    """Refuse another method than the config's: vLLM would drop the user's silently.

    Source:
        vLLM 0.32.0, config/model.py, _verify_quantization, and
        quantization/modelopt.py, override_quantization_method.
    """
    method = str(overlay.quantization_config.get("quant_method"))
    if asked is None or asked == method or asked.startswith(f"{method}_"):
        return
    raise UsageError(
        f"`--quantization` is {asked!r}, and the tensors of this checkpoint are "
        f"stored as {method!r} says.",
        evidence=overlay.changes,
        fix="Leave it out; the config that is passed names the method.",
    )


def _check_given(overlay: Overlay, given: Nested) -> None:
    """Refuse overrides of the user's that would be lost, or undo the overlay."""
    names = [*(given.whole or {}), *(path[0] for path, _ in given.keys)]
    if any(name.startswith(_CONFIG) for name in names):
        raise UsageError(
            f"`{_FLAG}` touches `{_CONFIG}`, which has to be what the tensors ask for.",
            evidence=overlay.changes,
            fix=f"Leave `{_CONFIG}` out of it. {_REPAIR}",
        )
    if given.keys and given.whole is not None:
        raise UsageError(
            f"`{_FLAG}` is given as an object and with keys behind dots; vLLM would "
            "take the keys alone.",
            fix="Write all of it in one of the two ways.",
        )


def _checked(choice: Choice) -> Choice:
    length = len((choice.value or "").encode())
    if length > _LONGEST_WORD:
        raise CheckpointError(
            f"The quantization config that this checkpoint needs has {length:,} bytes "
            f"as JSON; one word of a command line holds {_LONGEST_WORD:,}.",
            fix=_REPAIR,
        )
    return choice


def _compact(value: Mapping[str, object]) -> str:
    """Return JSON in the order that the config has, without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
