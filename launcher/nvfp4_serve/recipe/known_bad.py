"""What is known not to work: ``recipes/known-bad.yaml`` -> rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from nvfp4_serve.recipe.ranges import is_range, number_in, version_in
from nvfp4_serve.recipe.strict import Fault
from nvfp4_serve.recipe.yaml_files import convert, parse_yaml, read_bytes
from nvfp4_serve.resources import data_folder

#: The engine that we ship, and what it brings; ``requirements/engine-cuda.txt``.
SHIPPED: Final = {
    "vllm": "0.32.0",
    "flashinfer": "0.7.0.post1",
    "nccl": "2.29.7",
    "cudnn": "9.20.0.48",
}

_Text: TypeAlias = Annotated[str, Meta(min_length=1)]
#: One of these; `*` stands for anything in it.
Words: TypeAlias = _Text | Annotated[tuple[_Text, ...], Meta(min_length=1)]


class Conditions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that are given must hold, or nothing is known to be bad.

    Attributes:
        model: Hub ids.
        revision: Commits on the Hub.
        layout: Ids of `checkpoint.layout_ids`.
        architecture: ``architectures[0]`` of config.json.
        schemes: Module class to schemes; the class has one of them, maybe with others.
        compute_capability: ``"12.1"``.
        gpus: How many the plan uses.
        gpu_memory: Of each; of the machine, where a GPU shares its memory.
        unified: The GPUs share the machine's memory.
        mig: The plan uses an instance of a GPU.
        nvlink: The GPUs are linked.
        fabric: What the fabric of an NVSwitch machine says.
        wsl: Windows' Linux.
        cpu: ``x86_64`` or ``aarch64``.
        driver: Version of NVIDIA's driver.
        cuda_driver: The newest CUDA that the driver speaks.
        vllm: Version of the engine.
        flashinfer: Version of what the engine brings.
        nccl: The same.
        cudnn: The same.
        nodes: How many machines.
        image: References of container images.
        flags: Flag to values, ranges, ``present`` or ``absent``; a key of a flag that
            takes JSON stands behind a dot: ``--speculative-config.method``.
        env: Variable to the same.
    """

    model: Words | None = None
    revision: Words | None = None
    layout: Words | None = None
    architecture: Words | None = None
    schemes: dict[str, Words] | None = None
    compute_capability: Words | None = None
    gpus: _Text | None = None
    gpu_memory: _Text | None = None
    unified: bool | None = None
    mig: bool | None = None
    nvlink: bool | None = None
    fabric: Words | None = None
    wsl: bool | None = None
    cpu: Words | None = None
    driver: _Text | None = None
    cuda_driver: _Text | None = None
    vllm: _Text | None = None
    flashinfer: _Text | None = None
    nccl: _Text | None = None
    cudnn: _Text | None = None
    nodes: _Text | None = None
    image: Words | None = None
    flags: dict[str, Words] | None = None
    env: dict[str, Words] | None = None


class KnownBad(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that is known not to work, or to work badly.

    Attributes:
        kind: What is at fault; for people who read the list.
        severity: ``refuse``: wrong answers, a crash or a machine that hangs, for all
            that is known; ``warn``: it may be, or it is merely slow.
        when: Where it is known to be so.
        symptom: What a person would see.
        source: Who saw it, and where that is written.
        instead: What to do.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z0-9.-]+$")]
    kind: Literal["checkpoint", "image", "version", "backend", "host"]
    severity: Literal["refuse", "warn"]
    when: Conditions
    symptom: _Text
    source: _Text
    instead: _Text


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["nvfp4-serve/known-bad/v1"]
    rows: tuple[KnownBad, ...]


def load_known_bad(path: Path | None = None) -> tuple[KnownBad, ...]:
    """Return the rows of the file at ``path``, or of our own.

    Raises:
        RecipeError: With every fault, its line and its key.
    """
    file = path or data_folder("recipes") / "known-bad.yaml"
    document = parse_yaml(read_bytes(file), str(file))
    rows = convert(document, _File).rows
    faults = [*_twice(rows)]
    for index, row in enumerate(rows):
        faults += [(("rows", index, *at), text) for at, text in _wrong(row.when)]
    if faults:
        raise document.error(faults)
    return rows


def words(value: Words | None) -> tuple[str, ...]:
    """Return the words of a condition."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _twice(rows: tuple[KnownBad, ...]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, row in enumerate(rows):
        if row.id in seen:
            yield ("rows", index, "id"), f"two rows are called {row.id!r}"
        seen.add(row.id)


def _wrong(when: Conditions) -> Iterator[Fault]:
    if when == Conditions():
        yield ("when",), "it has no condition; it would hold everywhere"
    for key in ("driver", "cuda_driver", "vllm", "flashinfer", "nccl", "cudnn"):
        yield from _wrong_range(("when", key), getattr(when, key), version=True)
    for key in ("gpus", "gpu_memory", "nodes"):
        yield from _wrong_range(("when", key), getattr(when, key), version=False)
    for key in ("flags", "env"):
        for name, value in (getattr(when, key) or {}).items():
            for word in filter(is_range, words(value)):
                yield from _wrong_range(("when", key, name), word, version=False)


def _wrong_range(
    path: tuple[str, ...], text: str | None, *, version: bool
) -> Iterator[Fault]:
    if text is None:
        return
    try:
        _ = version_in(text, "1") if version else number_in(text, 1)
    except ValueError as error:
        yield path, str(error)
