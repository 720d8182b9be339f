"""A file of checkpoint facts -> Checkpoint. ``facts_text`` writes them."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from nvfp4_serve.checkpoint.census import fold_expert
from nvfp4_serve.checkpoint.facts_text import FACTS_VERSION, bytes_of
from nvfp4_serve.checkpoint.header import Dtype
from nvfp4_serve.checkpoint.numbered import Numbered, parse_names
from nvfp4_serve.checkpoint.nvfp4 import tensor_bytes
from nvfp4_serve.checkpoint.smallfile import parse_object
from nvfp4_serve.checkpoint.types import (
    Checkpoint,
    ModuleGroup,
    ScalePair,
    StoredTensor,
)
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.finding import Finding
from nvfp4_serve.units import MIB, format_bytes

#: The facts of 71,000 modules have 60 KiB; a config may have some MiB.
_LARGEST: Final = 64 * MIB
#: The largest checkpoints of 2026 have some 100,000 modules.
_MOST_MODULES: Final = 2_000_000
_AGAIN: Final = "Write it again with `nvfp4-serve inspect MODEL --facts`."

_Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Tensors: TypeAlias = tuple[StoredTensor, ...]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Modules that store the same, and whose names differ in numbers only."""

    modules: str
    count: _Natural
    tensors: dict[str, tuple[Dtype, tuple[_Natural, ...]]]


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ``ScalePair``; JSON has no number for what is not finite."""

    first: str
    second: str
    one: float | Literal["nan", "inf", "-inf"]
    two: float | Literal["nan", "inf", "-inf"]


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    folder: str | None
    revision: str | None
    constructed: bool
    sources: tuple[str, ...]
    modules: _Natural
    bytes: _Natural
    config: dict[str, Any]
    hf_quant_config: dict[str, Any] | None
    groups: tuple[_Row, ...]
    notes: tuple[Finding, ...]
    scale_pairs: tuple[_Pair, ...] | None


def read_facts_of(model: str, path: Path, *, revision: str | None = None) -> Checkpoint:
    """Return the checkpoint that a file describes, if it is ``model``.

    Args:
        model: The Hub id or folder that the facts must be of.
        path: The file.
        revision: The commit that they must be of; None: any.

    Raises:
        CheckpointError: As ``read_facts`` says, or they are of another checkpoint.
    """
    found = read_facts(path)
    if model != found.model and str(Path(model).absolute()) != found.folder:
        raise CheckpointError(
            f"{path} describes `{found.model}`, not `{model}`.",
            fix=f"Name `{found.model}`, or give the facts of `{model}`.",
        )
    if revision is not None and revision != found.revision:
        raise CheckpointError(
            f"{path} describes `{model}` at {found.revision or 'no known revision'}, "
            f"not at {revision!r}.",
            fix="Leave out `--revision`, or write the facts of that revision with "
            f"`nvfp4-serve inspect {model} --revision {revision} --facts`.",
        )
    return found


def read_facts(path: Path) -> Checkpoint:
    """Return the checkpoint that a file describes.

    Raises:
        CheckpointError: The file is not there, is no such file, is of another version,
            or contradicts itself.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint facts {path} cannot be read: {error.strerror}.",
            fix="Write them with `nvfp4-serve inspect MODEL --facts > FILE`.",
        ) from error
    if len(raw) > _LARGEST:
        raise CheckpointError(
            f"{path} is over {format_bytes(_LARGEST)}; it holds no checkpoint facts.",
            fix=_AGAIN,
        )
    return _checkpoint(_parse(raw, str(path)), str(path))


def _parse(raw: bytes, label: str) -> _Facts:
    data = dict(parse_object(raw, label=label))
    if "checkpoint_facts" not in data:
        machine = "; it describes a machine, for `--facts`" if "facts" in data else ""
        raise CheckpointError(
            f"{label} holds no checkpoint facts{machine}.",
            fix="Write them with `nvfp4-serve inspect MODEL --facts > FILE`.",
        )
    if (version := data.pop("checkpoint_facts")) != FACTS_VERSION:
        raise CheckpointError(
            f"{label} holds checkpoint facts of version {version!r}; this launcher "
            f"reads version {FACTS_VERSION}.",
            fix=_AGAIN,
        )
    try:
        return msgspec.convert(data, _Facts)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"{label} does not describe a checkpoint.",
            evidence=(str(error),),
            fix=_AGAIN,
        ) from error


def _checkpoint(facts: _Facts, label: str) -> Checkpoint:
    faults: list[str] = []
    groups = _groups(facts, faults)
    if not faults:
        faults += _contradictions(facts, groups)
    if faults:
        shown = faults[:20]
        raise CheckpointError(
            f"{label} contradicts itself; it was changed by hand.",
            evidence=tuple(shown),
            fix=_AGAIN,
        )
    return Checkpoint(
        model=facts.model,
        folder=facts.folder,
        revision=facts.revision,
        config=facts.config,
        hf_quant_config=facts.hf_quant_config,
        groups=groups,
        notes=facts.notes,
        scale_pairs=None
        if facts.scale_pairs is None
        else tuple(
            ScalePair(pair.first, pair.second, float(pair.one), float(pair.two))
            for pair in facts.scale_pairs
        ),
        constructed=facts.sources,
    )


def _groups(facts: _Facts, faults: list[str]) -> tuple[ModuleGroup, ...]:
    """Return every module, those that are alike together, in order of the name."""
    members: defaultdict[tuple[str, _Tensors], list[str]] = defaultdict(list)
    total = 0
    for row in facts.groups:
        tensors = _stored(row, faults)
        try:
            names = parse_names(row.modules)
        except ValueError as error:
            faults.append(f"`modules`: {error}")
            continue
        if names.count != row.count:
            faults.append(
                f"`{row.modules}` names {names.count:,} modules; its `count` is "
                f"{row.count:,}"
            )
        total += names.count
        if total > _MOST_MODULES:
            faults.append(f"there are more than {_MOST_MODULES:,} modules")
            return ()
        for name, modules in _alike(names):
            members[name, tensors] += modules
    return tuple(
        ModuleGroup(name, modules[0], len(modules), tensors, tuple(modules))
        for (name, tensors), modules in sorted(
            members.items(), key=lambda item: item[0][0]
        )
    )


def _stored(row: _Row, faults: list[str]) -> _Tensors:
    tensors = []
    for suffix, (dtype, shape) in sorted(row.tensors.items()):
        size = tensor_bytes(dtype, shape)
        if size is None:
            faults.append(f"`{row.modules}.{suffix}` is no whole number of bytes")
        tensors.append(StoredTensor(suffix, dtype, shape, size or 0))
    return tuple(tensors)


def _alike(names: Numbered) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each group and its members, as ``Census.groups`` has them."""
    first = [slot[0] for slot in names.slots]
    folded = fold_expert(names.name(first))
    starred = (
        names.name((*first[:place], "*", *first[place + 1 :]))
        for place in range(len(first))
    )
    expert = next((p for p, name in enumerate(starred) if name == folded), None)
    if expert is None or "\0" in "".join(names.texts):
        yield from ((fold_expert(name), [name]) for name in names.names())
        return
    numbers = list(map(str, names.slots[expert]))
    # No text holds it, so what stands on either side of it is found.
    marks = (*names.slots[:expert], ("\0",), *names.slots[expert + 1 :])
    for chosen in itertools.product(*marks):
        head, _, tail = names.name(chosen).partition("\0")
        yield f"{head}*{tail}", [f"{head}{number}{tail}" for number in numbers]


def _contradictions(facts: _Facts, groups: tuple[ModuleGroup, ...]) -> Iterator[str]:
    count, size = sum(group.count for group in groups), bytes_of(groups)
    if count != facts.modules:
        yield f"`modules` is {facts.modules:,}; the rows name {count:,}"
    if size != facts.bytes:
        yield f"`bytes` is {facts.bytes:,}; the rows have {size:,}"
    if len({name for group in groups for name in group.members}) != count:
        yield "some modules are named by two rows"
    if facts.constructed != bool(facts.sources):
        yield "`sources` says where it is from if it is `constructed`, and only then"
