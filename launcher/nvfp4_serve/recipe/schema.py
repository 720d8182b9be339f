"""The keys of a recipe file, and nothing of what they mean. Types for `yaml_files`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from nvfp4_serve.recipe.types import SCHEMA, ArgValue

assert SCHEMA == "nvfp4-serve/recipe/v1"  # noqa: S101 - Literal takes no constant

_Text = Annotated[str, Meta(min_length=1)]
_Seconds = Annotated[int, Meta(gt=0)]
#: How a condition may be written; `when` says what it means.
_Words = str | int | Annotated[list[str | int], Meta(min_length=1)]


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """The checkpoint."""

    id: Annotated[str, Meta(pattern=r"^[\w.-]+/[\w.-]+$")]
    source: _Text
    revision: Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$")] | None = None
    weight_bytes: Annotated[int, Meta(gt=0)] | None = None


class ExpectFile(Struct, frozen=True, forbid_unknown_fields=True):
    """What the headers must say."""

    layouts: tuple[_Text, ...] = ()
    architecture: _Text | Annotated[tuple[_Text, ...], Meta(min_length=1)] = ()
    schemes: dict[str, _Text] = {}


class ExpectVariant(Struct, frozen=True, forbid_unknown_fields=True):
    """What the start must say."""

    log_must: tuple[_Text, ...] = ()
    log_must_not: tuple[_Text, ...] = ()
    canary: _Text | None = None


class ArgRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A flag."""

    value: ArgValue
    why: _Text
    source: _Text


class VariableRow(Struct, frozen=True, forbid_unknown_fields=True):
    """An environment variable."""

    value: str
    why: _Text
    source: _Text


class WhenRow(Struct, frozen=True, forbid_unknown_fields=True):
    """The machines."""

    compute_capability: _Words | None = None
    gpus: _Words | None = None
    gpu_memory: _Words | None = None
    unified: bool | None = None
    architecture: _Words | None = None
    driver: _Words | None = None
    nodes: _Words | None = None
    vllm: _Words | None = None


class ReadyRow(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a start took."""

    source: _Text
    cold_seconds: _Seconds | None = None
    warm_seconds: _Seconds | None = None


class Base(Struct, frozen=True, forbid_unknown_fields=True):
    """What every variant has."""

    args: dict[str, ArgRow] = {}
    env: dict[str, VariableRow] = {}


class Variant(Struct, frozen=True, forbid_unknown_fields=True):
    """What is for one kind of machine."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    when: WhenRow
    status: str | None = None
    args: dict[str, ArgRow] = {}
    env: dict[str, VariableRow] = {}
    unset: tuple[str, ...] = ()
    expect: ExpectVariant = ExpectVariant()
    ready: ReadyRow | None = None
    evidence: tuple[_Text, ...] = ()
    notes: tuple[_Text, ...] = ()
    blocked: _Text | None = None
    rank: int = 0


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """A file."""

    schema: Literal["nvfp4-serve/recipe/v1"]
    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    model: Model
    status: str
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
    expect: ExpectFile = ExpectFile()
    base: Base = Base()
