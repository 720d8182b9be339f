"""Fold the tensors of every shard into groups of modules that are alike. Pure.

A checkpoint may have 282,000 tensors in 71,000 modules, and nearly all of them differ
in the number of a layer or an expert only. So no object is kept for a tensor: what a
module holds is a node of a tree, and each tensor of it leads one node further. Modules
that are alike end at the same node, and there are few nodes.
"""

import re
from collections import defaultdict
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Final, TypeAlias

from nvfp4_serve.checkpoint.header import Header
from nvfp4_serve.checkpoint.nvfp4 import tensor_bytes
from nvfp4_serve.checkpoint.types import ModuleGroup, StoredTensor

#: Suffix, dtype, shape, and the bytes that it has in its file.
_Kind: TypeAlias = tuple[str, str, tuple[int, ...], int]
_Tensors: TypeAlias = tuple[StoredTensor, ...]

_EXPERTS: Final = ".experts."
_NUMBER: Final = re.compile(r"[0-9]+\Z")

_fits: Final = attrgetter("fits")


def _by_name(item: tuple[tuple[str, _Tensors], list[str]]) -> str:
    return item[0][0]


class _Held(dict[_Kind, "_Held"]):
    """What a module holds so far; one more tensor is the key to what it holds then.

    Attributes:
        fits: Whether every tensor takes what its dtype and its shape need.
    """

    __slots__ = ("_before", "_last", "fits")

    def __init__(
        self, before: "_Held | None" = None, last: _Kind | None = None
    ) -> None:
        super().__init__()
        self._before = before
        self._last = last
        self.fits = True
        if before is not None and last is not None:
            _, dtype, shape, size = last
            self.fits = before.fits and tensor_bytes(dtype, shape) == size

    def __missing__(self, kind: _Kind) -> "_Held":
        self[kind] = after = _Held(self, kind)
        return after

    def kinds(self) -> list[_Kind]:
        """Return the tensors, sorted."""
        kinds, held = [], self
        while held._before is not None and held._last is not None:
            kinds.append(held._last)
            held = held._before
        return sorted(kinds)

    def and_all_of(self, other: "_Held") -> "_Held":
        """Return what a module holds of which ``other`` was in another shard."""
        held = self
        for kind in other.kinds():
            held = held[kind]
        return held


class Census:
    """Counts tensors, one shard's header after the other."""

    def __init__(self) -> None:
        self._nothing = _Held()
        self._modules: dict[str, _Held] = {}

    def add(self, header: Header, *, body: int) -> bool:
        """Count the tensors of one shard.

        Returns whether it is plain that each takes what its dtype and its shape need,
        and that they fill the ``body`` bytes behind the header one after the other.

        At 282,000 tensors this loop is what takes the time, and a dictionary of one
        shard's modules stays in the processor's cache where one of all would not;
        ``benchmarks/inspect_speed.py`` measures.
        """
        modules: dict[str, _Held] = {}
        before, nothing = modules.get, self._nothing
        cursor, in_order = 0, True
        for name, entry in header.items():
            begin, end = entry.data_offsets
            if begin != cursor:
                in_order = False
            cursor = end
            module, _, suffix = name.rpartition(".")
            if not module:
                suffix = name
            kind = suffix, entry.dtype, entry.shape, end - begin
            modules[module] = before(module, nothing)[kind]
        fit = all(map(_fits, modules.values()))
        for module in self._modules.keys() & modules.keys():
            modules[module] = self._modules[module].and_all_of(modules[module])
        self._modules.update(modules)
        return fit and in_order and cursor == body

    def holds(self, name: str) -> bool:
        """Return whether the tensor ``name`` was counted."""
        module, _, suffix = name.rpartition(".")
        suffix = suffix if module else name
        held = self._modules.get(module, self._nothing)
        return any(kind[0] == suffix for kind in held.kinds())

    def repeated(self) -> list[str]:
        """Return the tensors that were counted twice, in two shards."""
        twice = {
            number: again
            for number, held in self._ends.items()
            if (again := [a for (a, *_), (b, *_) in pairwise(held.kinds()) if a == b])
        }
        if not twice:
            return []
        return [
            f"{module}.{suffix}" if module else suffix
            for module, held in self._modules.items()
            for suffix in twice.get(id(held), ())
        ]

    def groups(self) -> tuple[ModuleGroup, ...]:
        """Return every module, those that are alike together, in order of the name."""
        members: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        folded = _FoldedTails()
        for module, held in self._modules.items():
            head, _, tail = module.partition(_EXPERTS)
            behind = folded[tail]
            name = module if behind is None else head + _EXPERTS + behind
            members[name, id(held)].append(module)
        contents = {
            number: tuple(StoredTensor(*kind) for kind in held.kinds())
            for number, held in self._ends.items()
        }
        # Another shard may hold the same tensors in another order.
        merged: defaultdict[tuple[str, _Tensors], list[str]] = defaultdict(list)
        for (name, number), modules in members.items():
            merged[name, contents[number]] += modules
        return tuple(
            ModuleGroup(name, modules[0], len(modules), tensors, tuple(modules))
            for (name, tensors), modules in sorted(merged.items(), key=_by_name)
        )

    @cached_property
    def _ends(self) -> dict[int, _Held]:
        """What some module holds in the end, by its identity."""
        return {id(held): held for held in self._modules.values()}


def fold_expert(module: str) -> str:
    """Return ``module`` with a star for the number of the expert."""
    head, found, tail = module.partition(_EXPERTS)
    behind = _FoldedTails()[tail] if found else None
    return module if behind is None else head + _EXPERTS + behind


class _FoldedTails(dict[str, str | None]):
    """What follows ``.experts.`` to the same with a star; None: it names no expert.

    The number stands first or, in exports that put the projection first
    (vllm#40885), one place later.
    """

    def __missing__(self, tail: str) -> str | None:
        parts = tail.split(".", 2)
        numbers = (i for i, part in enumerate(parts[:2]) if _NUMBER.match(part))
        place = next(numbers, None)
        if place is not None:
            parts[place] = "*"
        self[tail] = folded = None if place is None else ".".join(parts)
        return folded
