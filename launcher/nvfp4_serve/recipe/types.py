"""A recipe, and what became of it on a machine. Values only."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nvfp4_serve.host.types import Gpu


class Status(enum.StrEnum):
    """How a plan is known to be right, best first."""

    VERIFIED = "verified"
    PORTED = "ported"
    IMPORTED = "imported"
    INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers or versions from one to another; as text, ``>=8`` or ``2..8``.

    Attributes:
        text: As it was written.
        low: The least; None: no bound. ``(580, 95)`` for a version, else one number.
        high: The most.
        low_holds: The least itself is in it.
        high_holds: The most itself is in it.
    """

    text: str
    low: tuple[int, ...] | None
    high: tuple[int, ...] | None
    low_holds: bool = True
    high_holds: bool = True

    def holds(self, found: tuple[int, ...]) -> bool:
        """Return whether ``found`` is in it.

        A version is looked at as far as the bound says: ``580.95`` is not above
        ``580``, and is at most ``580``.
        """
        if self.low is not None:
            cut = _cut(found, self.low)
            if cut < self.low or (cut == self.low and not self.low_holds):
                return False
        if self.high is not None:
            cut = _cut(found, self.high)
            if cut > self.high or (cut == self.high and not self.high_holds):
                return False
        return True


def _cut(found: tuple[int, ...], bound: tuple[int, ...]) -> tuple[int, ...]:
    return (*found, *[0] * len(bound))[: len(bound)]


@dataclass(frozen=True, slots=True)
class When:
    """The machines that a recipe is for: every condition must hold.

    Several values of one condition mean one of them; none means any.

    Attributes:
        compute_capability: ``("12.0", "12.1")``.
        gpus: How many of one kind one machine has.
        gpu_memory: Bytes of each; of the machine, where a GPU shares its memory.
        unified: Whether the GPUs share the machine's memory.
        architecture: Of the CPU: ``("x86_64",)``.
        driver: Version of NVIDIA's driver.
        nodes: How many such machines.
        vllm: Version of the engine.
    """

    compute_capability: tuple[str, ...] = ()
    gpus: tuple[Range, ...] = ()
    gpu_memory: tuple[Range, ...] = ()
    unified: bool | None = None
    architecture: tuple[str, ...] = ()
    driver: tuple[Range, ...] = ()
    nodes: tuple[Range, ...] = ()
    vllm: tuple[Range, ...] = ()

    @property
    def count(self) -> int:
        """How many conditions there are."""
        given = (
            self.compute_capability, self.gpus, self.gpu_memory, self.architecture,
            self.driver, self.nodes, self.vllm,
        )  # fmt: skip
        return sum(map(bool, given)) + (self.unified is not None)


ArgValue = bool | int | float | str | list[object] | dict[str, object]


@dataclass(frozen=True, slots=True)
class Arg:
    """The value of one flag, why it has it, and how that is known.

    Attributes:
        value: True and False: the switch, and its ``--no-`` form. An object is passed
            as JSON, a list as several words.
    """

    value: ArgValue
    why: str
    source: str

    def words(self, name: str) -> tuple[str, ...]:
        """Return the flag called ``name`` as it stands on a command line."""
        if self.value is True:
            return (name,)
        if self.value is False:
            return (f"--no-{name.removeprefix('--')}",)
        if isinstance(self.value, list):
            return (name, *map(_text, self.value))
        return (name, _text(self.value))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Variable:
    """The value of one environment variable, why, and how that is known."""

    value: str
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be so, or the recipe is for something else.

    Attributes:
        layouts: Ids of `checkpoint.layout_ids`; one of them. None given: any.
        architectures: One of them is ``architectures[0]`` of config.json. None given:
            any.
        schemes: Module class to the scheme that all of it has.
        log_must: Regular expressions; each matches some line of the engine's log.
        log_must_not: Regular expressions; none matches any line.
        canary: Path of a file of prompts and answers; None: the checkpoint's own.
    """

    layouts: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    schemes: Mapping[str, str] = field(default_factory=dict)
    log_must: tuple[str, ...] = ()
    log_must_not: tuple[str, ...] = ()
    canary: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """How long the engine took until it was ready, where somebody said so.

    Attributes:
        cold_seconds: At the first start, with empty caches.
        warm_seconds: With caches of an earlier start.
        source: Who said so.
    """

    cold_seconds: int | None
    warm_seconds: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """One variant of a recipe file, with all that the file says of every variant.

    Attributes:
        id: ``file/variant``.
        model_id: The model's id on the Hub.
        revision: The commit that it was made for, where one was published.
        weight_bytes: Bytes of all shards, where they were published.
        model_source: Where the model is described.
        status: How it is known to be right.
        when: The machines that it is for.
        args: vLLM's own flags, by name.
        env: Environment variables, by name.
        expect: What must be so.
        ready: How long a start takes, where somebody said so.
        evidence: Files under ``recipes/``, with a date and an image digest.
        notes: Sentences for people.
        blocked: Why it is known not to work on our engine; None: it is not.
        rank: The higher is taken, where status and number of conditions are equal.
        path: The file.
    """

    id: str
    model_id: str
    revision: str | None
    weight_bytes: int | None
    model_source: str
    status: Status
    when: When
    args: Mapping[str, Arg]
    env: Mapping[str, Variable]
    expect: Expected
    ready: Ready | None
    evidence: tuple[str, ...]
    notes: tuple[str, ...]
    blocked: str | None
    rank: int
    path: str

    @property
    def words(self) -> tuple[str, ...]:
        """The flags as they stand on a command line."""
        return tuple(w for name, arg in self.args.items() for w in arg.words(name))


@dataclass(frozen=True, slots=True)
class Reason:
    """One condition, tested.

    Attributes:
        condition: The key in the recipe: ``gpus``, ``expect.layouts``, ``blocked``.
        wanted: ``>=8``.
        found: ``1``.
    """

    ok: bool
    condition: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a recipe is for a checkpoint on a machine, with every condition.

    Attributes:
        reasons: All of them, whether they hold or not.
        gpus: The GPUs that the conditions were held against: those of one kind.
    """

    recipe: Recipe
    reasons: tuple[Reason, ...]
    gpus: tuple[Gpu, ...]

    @property
    def fits(self) -> bool:
        """True when every condition holds."""
        return all(reason.ok for reason in self.reasons)

    @property
    def missed(self) -> tuple[Reason, ...]:
        """The conditions that do not hold."""
        return tuple(reason for reason in self.reasons if not reason.ok)


#: What the ``schema`` of a file must say.
SCHEMA: Final = "nvfp4-serve/recipe/v1"
