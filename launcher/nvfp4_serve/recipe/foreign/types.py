"""A foreign recipe, as it was read, before anything of it is judged. Values only."""

from dataclasses import dataclass, field

from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.recipe.foreign.words import Word


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable, and where it stands."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What a foreign recipe, or the user, says of the GPUs it is for.

    Attributes:
        name: As the source calls it: ``b300``, ``dgx_spark_gb10``.
        compute_capability: ``12.1``; None where it is not said.
        gpus: Of one node; None where it is not said.
        nodes: Machines that work together.
    """

    name: str | None = None
    compute_capability: str | None = None
    gpus: int | None = None
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Launch:
    """One way to start vLLM that a foreign text describes.

    Attributes:
        words: What follows ``vllm serve``, the model among it.
        environment: In the order of the text.
        image: The container's image.
        mounts: Host folder to container folder.
        model: Where the text names the model outside of the command.
        revision: Where the text names it outside of the command.
        named: What the text calls itself.
        least_vllm: The oldest vLLM that it is for, ``0.33.0``.
        is_published: It runs in a network of its own; what is published decides who
            can reach it, not the address that it binds.
    """

    words: tuple[Word, ...]
    environment: tuple[Setting, ...] = ()
    image: str | None = None
    image_line: int = 1
    mounts: tuple[tuple[str, str], ...] = ()
    model: str | None = None
    revision: str | None = None
    named: str | None = None
    least_vllm: str | None = None
    is_published: bool = False
    machine: Machine = field(default_factory=Machine)
    findings: tuple[Finding, ...] = ()


def warning(kind: str, message: str, fix: str) -> Finding:
    """Return a finding that one should know of."""
    return Finding(kind, Severity.WARNING, message, fix)


def error(kind: str, message: str, fix: str) -> Finding:
    """Return a finding that must be mended before the recipe is served."""
    return Finding(kind, Severity.ERROR, message, fix)


def info(kind: str, message: str, fix: str) -> Finding:
    """Return a finding that says what became of something."""
    return Finding(kind, Severity.INFO, message, fix)
