"""Fold the tensors of every shard into groups of modules that are alike. Pure.

A checkpoint may have 282,000 tensors in 71,000 modules, and nearly all of them differ
in the number of a layer or an expert only. So no object is kept for a tensor: a tensor
is a *kind* (suffix, dtype, shape), of which there are few; a module is the *state* that
the kinds seen so far have brought it to; and there are few states.
"""

from functools import cached_property
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import Final, TypeAlias

from nvfp4_serve.checkpoint.header import Header
from nvfp4_serve.checkpoint.nvfp4 import tensor_bytes
from nvfp4_serve.checkpoint.types import ModuleGroup, StoredTensor

_Kind: TypeAlias = tuple[str, str, tuple[int, ...]]
#: A module's name before and behind its expert's number, and its state.
_Alike: TypeAlias = tuple[str, str | None, int]

#: States and kinds share one integer; 2^40 kinds are more than any header can hold.
_KIND_BITS: Final = 40
_START: Final = 0
_EXPERTS: Final = ".experts."
#: No size: no offset is below it, so the shard is looked at again, and explained.
_NO_SIZE: Final = -(1 << 100)

_suffix: Final = itemgetter(2)
_dtype: Final = attrgetter("dtype")
_shape: Final = attrgetter("shape")
_by_suffix: Final = attrgetter("suffix")


class _Kinds(dict[_Kind, int]):
    """Kind to its number; a kind that is new gets the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __missing__(self, kind: _Kind) -> int:
        _, dtype, shape = kind
        size = tensor_bytes(dtype, shape)
        self.sizes.append(_NO_SIZE if size is None else size)
        self[kind] = number = len(self)
        return number


class _States(dict[int, int]):
    """(state before, kind) to the state after, numbered as they appear from 1."""

    def __missing__(self, step: int) -> int:
        self[step] = state = len(self) + 1
        return state


class Census:
    """Counts tensors, one shard's header after the other.

    Attributes:
        tensors: How many were counted.
    """

    def __init__(self) -> None:
        self.tensors = 0
        self._kinds = _Kinds()
        self._states = _States()
        self._modules: dict[str, int] = {}

    def add(self, header: Header) -> list[int]:
        """Count the tensors of one shard; return what each should take, in order.

        The loops run in C (``map``, ``zip``) but for the last: at 282,000 tensors
        that is what makes the difference; ``benchmarks/inspect_speed.py`` measures.
        """
        entries = header.values()
        names = [name.rpartition(".") for name in header]
        kinds = list(
            map(
                self._kinds.__getitem__,
                zip(
                    map(_suffix, names),
                    map(_dtype, entries),
                    map(_shape, entries),
                    strict=True,
                ),
            )
        )
        modules, states, before = self._modules, self._states, self._modules.get
        for (module, _, _), kind in zip(names, kinds, strict=True):
            modules[module] = states[(before(module, _START) << _KIND_BITS) | kind]
        self.tensors += len(kinds)
        return list(map(self._kinds.sizes.__getitem__, kinds))

    def holds(self, name: str) -> bool:
        """Return whether the tensor ``name`` was counted."""
        module, _, suffix = name.rpartition(".")
        tensors = self._contents[self._modules.get(module, _START)]
        return any(tensor.suffix == suffix for tensor in tensors)

    def repeated(self) -> list[str]:
        """Return the tensors that were counted twice, in two shards."""
        twice = {
            state: again
            for state, tensors in self._contents.items()
            if (again := _equal_neighbours(tensors))
        }
        return [
            f"{module}.{suffix}"
            for module, state in self._modules.items()
            for suffix in twice.get(state, ())
        ]

    def groups(self) -> tuple[ModuleGroup, ...]:
        """Return every module, those that are alike together, in order of the name."""
        counts: dict[_Alike, int] = {}
        examples: dict[_Alike, str] = {}
        for module, state in self._modules.items():
            key = (*_split_expert(module), state)
            counts[key] = counts.get(key, 0) + 1
            examples.setdefault(key, module)
        merged: dict[tuple[str, tuple[StoredTensor, ...]], tuple[str, int]] = {}
        for key, count in counts.items():
            before, behind, state = key
            # Another shard may hold the same tensors in another order.
            name = before if behind is None else f"{before}*{behind}"
            alike = name, self._contents[state]
            first, others = merged.get(alike, (examples[key], 0))
            merged[alike] = first, others + count
        return tuple(
            ModuleGroup(name, example, count, tensors)
            for (name, tensors), (example, count) in sorted(
                merged.items(), key=lambda item: item[0][0]
            )
        )

    @cached_property
    def _contents(self) -> dict[int, tuple[StoredTensor, ...]]:
        """The tensors of a module in each state, by suffix; asked for at the end."""
        kinds = [
            StoredTensor(suffix, dtype, shape, self._kinds.sizes[number])
            for number, (suffix, dtype, shape) in enumerate(self._kinds)
        ]
        contents: dict[int, tuple[StoredTensor, ...]] = {_START: ()}
        for step, state in self._states.items():
            before, kind = step >> _KIND_BITS, step & ((1 << _KIND_BITS) - 1)
            contents[state] = tuple(
                sorted((*contents[before], kinds[kind]), key=_by_suffix)
            )
        return contents


def _equal_neighbours(tensors: tuple[StoredTensor, ...]) -> tuple[str, ...]:
    return tuple(a.suffix for a, b in pairwise(tensors) if a.suffix == b.suffix)


def _split_expert(module: str) -> tuple[str, str | None]:
    """Return the name before and behind the number of the expert; None if none.

    The number stands behind ``experts``, or, in exports that put the projection
    first (vllm#40885), one place later.
    """
    head, found, tail = module.partition(_EXPERTS)
    if not found:
        return module, None
    number, dot, rest = tail.partition(".")
    if number.isdigit():
        return head + _EXPERTS, dot + rest
    projection, (number, dot, rest) = number, rest.partition(".")
    if number.isdigit():
        return f"{head}{_EXPERTS}{projection}.", dot + rest
    return module, None
