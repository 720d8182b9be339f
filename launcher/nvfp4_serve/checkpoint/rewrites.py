"""Groups as stored -> groups as a loader should see them. Pure.

What becomes of a tensor says ``nvfp4_layouts``, which the engine's adapter and
``repair`` follow too. Here it is asked once for each kind of module, and never for each
of 71,000 modules: one stands for all that are alike.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from nvfp4_layouts.fused import LOAD_FUSED_THEMSELVES, MAX_EXPERTS
from nvfp4_layouts.names import QUANTIZER
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Piece, RewriteError, Stored

from nvfp4_serve.checkpoint.census import fold_expert
from nvfp4_serve.checkpoint.encodings import Encoding, is_quantizer
from nvfp4_serve.checkpoint.foreign import (
    expert_first,
    experts_of,
    foreign_encoding,
    fused_tensors,
)
from nvfp4_serve.checkpoint.nvfp4 import tensor_bytes
from nvfp4_serve.checkpoint.types import ModuleGroup, StoredTensor


@dataclass(frozen=True, slots=True)
class AsLoaded:
    """The modules once they are named as a loader knows them.

    Attributes:
        groups: Those that no rewrite touches are as they were.
        kinds: What has to be done to the stored ones, sorted.
        stored: Every way of storing them that is not the usual one.
        refusal: Why it cannot be done; ``groups`` are then those that are stored.
    """

    groups: tuple[ModuleGroup, ...]
    kinds: tuple[str, ...] = ()
    stored: frozenset[Encoding] = frozenset()
    refusal: RewriteError | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    """One module that stands for all that are like it, its quantizers with it.

    Attributes:
        members: Every module that it stands for, itself first.
        tensors: By their full names, as stored; fused ones with one expert.
        experts: How many experts are fused in each tensor; 1 where none are.
    """

    members: tuple[str, ...]
    tensors: Mapping[str, StoredTensor]
    experts: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Modules that are alike, as a loader sees them.

    Attributes:
        members: Every one of them.
    """

    members: tuple[str, ...]
    tensors: tuple[StoredTensor, ...]
    is_rewritten: bool


def as_loaded(groups: tuple[ModuleGroup, ...], architecture: str | None) -> AsLoaded:
    """Return ``groups`` as a loader should see them.

    Args:
        groups: Every module, as stored.
        architecture: ``architectures[0]`` of config.json.
    """
    found = {foreign_encoding(group) for group in groups}
    stored = frozenset(encoding for encoding in found if encoding is not None)
    if not stored:
        return AsLoaded(groups)
    samples = tuple(_samples(groups))
    tensors = dict(pair for sample in samples for pair in _stored(sample))
    # What the engine's own code of a model takes apart is judged all the same.
    by_itself = architecture in LOAD_FUSED_THEMSELVES
    try:
        rewrite = make_rewrite(tensors, None if by_itself else architecture)
        if rewrite is None:
            return AsLoaded(groups, (), stored)
        parts = [p for sample in samples for p in _parts(sample, rewrite.pieces)]
        merged = tuple(_merged(parts))
    except RewriteError as refusal:
        return AsLoaded(groups, (), stored, refusal)
    kinds = rewrite.kinds - {"fused"} if by_itself else rewrite.kinds
    return AsLoaded(merged, tuple(sorted(kinds)), stored)


def _samples(groups: tuple[ModuleGroup, ...]) -> Iterator[_Sample]:
    """Yield a sample of each group; what has a quantizer, together with it."""
    experts = _fused_experts(groups)
    quantizers = [group for group in groups if is_quantizer(group)]
    children: defaultdict[str, list[int]] = defaultdict(list)
    for number, group in enumerate(quantizers):
        # One module may have many that are alike, one for each expert.
        for parent in {_parent_of(member)[0] for member in group.members}:
            children[parent].append(number)
    for group in groups:
        if is_quantizer(group):
            continue
        alike: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
        for member in group.members:
            alike[tuple(children.pop(member, ()))].append(member)
        fused = 1 if "*" in group.name else experts.get(experts_of(group.name), 1)
        for numbers, members in alike.items():
            own = [quantizers[number] for number in numbers]
            yield _sample(tuple(members), [group, *own], fused)
    # Quantizers of a module that stores nothing, such as those of the KV cache.
    for parent, found in children.items():
        yield _sample((parent,), [quantizers[number] for number in found], 1)


def _sample(
    members: tuple[str, ...], groups: list[ModuleGroup], experts: int
) -> _Sample:
    tensors = {}
    for group in groups:
        module = members[0]
        if is_quantizer(group):
            module = _joined(module, _parent_of(group.members[0])[1])
        for tensor in group.tensors:
            tensors[_joined(module, tensor.suffix)] = tensor
    return _Sample(members, tensors, experts)


def _stored(sample: _Sample) -> Iterator[tuple[str, Stored]]:
    """Yield the tensors of ``sample``, and one expert for all that are fused."""
    for name, tensor in sample.tensors.items():
        shape = tensor.shape
        if sample.experts > 1 and shape[:1] == (sample.experts,):
            shape = (1, *shape[1:])
        yield name, Stored(tensor.dtype, shape)


def _parts(sample: _Sample, pieces: Mapping[str, tuple[Piece, ...]]) -> Iterator[_Part]:
    """Yield what comes of the modules that ``sample`` stands for."""
    made: defaultdict[str, list[StoredTensor]] = defaultdict(list)
    for name, tensor in sample.tensors.items():
        if name not in pieces:
            made[_split(name)[0]].append(tensor)
            continue
        for piece in pieces[name]:
            module, suffix = _split(piece.name)
            size = tensor_bytes(piece.dtype, piece.shape) or 0
            made[module].append(StoredTensor(suffix, piece.dtype, piece.shape, size))
    is_rewritten = not pieces.keys().isdisjoint(sample.tensors)
    for module, tensors in made.items():
        alike = tuple(sorted(tensors, key=_suffix))
        yield _Part(tuple(_members(sample, module)), alike, is_rewritten)


def _members(sample: _Sample, module: str) -> Iterator[str]:
    """Yield every module that is made as ``module`` is made of the first."""
    if sample.experts > 1 and module != sample.members[0]:
        head, _, projection = module.rpartition(".")
        layer = head.rpartition(".")[0]
        for expert in range(sample.experts):
            yield f"{layer}.{expert}.{projection}"
    elif len(sample.members) > 1:
        yield from map(expert_first, sample.members)
    else:
        yield module


def _merged(parts: Iterable[_Part]) -> Iterator[ModuleGroup]:
    """Yield the groups, in order of their names; each tensor of a module once.

    Raises:
        RewriteError: A tensor is stored twice, in two layouts.
    """
    by_name: defaultdict[str, list[_Part]] = defaultdict(list)
    for part in parts:
        by_name[fold_expert(part.members[0])].append(part)
    for name, same in sorted(by_name.items()):
        alike: defaultdict[tuple[StoredTensor, ...], list[str]] = defaultdict(list)
        for members, tensors in _put_together(same):
            alike[tensors] += members
        for tensors, found in alike.items():
            yield ModuleGroup(name, found[0], len(found), tensors, tuple(found))


def _put_together(
    parts: list[_Part],
) -> Iterator[tuple[tuple[str, ...], tuple[StoredTensor, ...]]]:
    """Yield modules and what they hold; a module may be in several of ``parts``."""
    if len(parts) == 1 or not any(part.is_rewritten for part in parts):
        yield from ((part.members, part.tensors) for part in parts)
        return
    held: defaultdict[str, list[StoredTensor]] = defaultdict(list)
    for part in parts:
        for member in part.members:
            held[member] += part.tensors
    twice = [
        f"{member}.{first.suffix}"
        for member, tensors in held.items()
        for first, second in pairwise(sorted(tensors, key=_suffix))
        if first.suffix == second.suffix
    ]
    if twice:
        raise RewriteError(
            f"{len(twice):,} tensors are stored twice, in two layouts.",
            evidence=twice[:4],
            fix="Export the checkpoint again, into an empty folder.",
        )
    for member, tensors in held.items():
        yield (member,), tuple(sorted(tensors, key=_suffix))


def _suffix(tensor: StoredTensor) -> str:
    return tensor.suffix


def _fused_experts(groups: tuple[ModuleGroup, ...]) -> dict[str, int]:
    """Return how many experts are fused in each ``....experts``.

    Left out, and so shown whole to ``make_rewrite``, is what that refuses: sizes that
    no model has, and projections with different numbers of experts.
    """
    shapes: defaultdict[str, list[tuple[int, ...]]] = defaultdict(list)
    for group in groups:
        found = fused_tensors(group).values()
        shapes[experts_of(group.name)] += (s for s in found if len(s) == 3)
    return {
        name: found[0][0]
        for name, found in shapes.items()
        if len({shape[0] for shape in found}) == 1
        and found[0][0] <= MAX_EXPERTS
        and all(all(shape) for shape in found)
    }


def _parent_of(quantizer: str) -> tuple[str, str]:
    """Return the module that a quantizer is of, and the quantizer's own name."""
    found = QUANTIZER.match(f"{quantizer}._amax")
    return (found[1] or "", found[2]) if found is not None else ("", quantizer)


def _joined(module: str, suffix: str) -> str:
    return f"{module}.{suffix}" if module else suffix


def _split(name: str) -> tuple[str, str]:
    """Return the module and the suffix of a tensor."""
    module, _, suffix = name.rpartition(".")
    return module, suffix
