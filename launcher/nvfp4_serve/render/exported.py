"""What every export has in common: what may not be in it, and what to say with it."""

import re
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.types import Plan

_SECRET: Final = ("--api-key", "--hf-token")
_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")
_WEIGHTS: Final = "weights"


@dataclass(frozen=True, slots=True)
class Exported:
    """A plan in the words of another tool.

    Attributes:
        text: The file, ending in a newline.
        warnings: What its reader must know, one sentence each.
    """

    text: str
    warnings: tuple[str, ...]


def refuse_secrets(plan: Plan) -> None:
    """Refuse a plan whose words hold a secret.

    Raises:
        UsageError: With the flag, without its value.
    """
    for word in plan.argv:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in _SECRET:
            raise UsageError(
                f"`{flag}` would stand in the file for everyone to read.",
                fix="Leave it out; set `VLLM_API_KEY` or `HF_TOKEN` where the engine "
                "is started.",
            )


def image_of(plan: Plan, image: str | None) -> str:
    """Return the image that the container runs.

    Raises:
        UsageError: The plan has none, and the user neither.
    """
    found = image or plan.image
    if found is None:
        raise UsageError(
            "The plan names no image, and the format needs one.",
            fix="Name one with `--image NAME@sha256:...`; it must hold vLLM.",
        )
    return found


def common_warnings(plan: Plan, image: str | None) -> tuple[str, ...]:
    """Return what is to be said of an export, whatever its format."""
    told = []
    if image is not None and not _DIGEST.search(image):
        told.append(
            f"The image `{image}` has no digest; what it is can change. `docker "
            "manifest inspect` says it."
        )
    if any(reason.flag == _WEIGHTS for reason in plan.because):
        told.append(
            "The engine of this launcher changes the weights while they are loaded; "
            "another vLLM does not, and may refuse them or answer wrongly."
        )
    return tuple(told)


def option(plan: Plan, name: str) -> str | None:
    """Return the value of a flag of the plan, or None: it has none."""
    value = None
    for word, following in zip(plan.argv, (*plan.argv[1:], ""), strict=True):
        head, equals, rest = word.partition("=")
        if head == name:
            value = rest if equals else following
    return value
