"""Fused NVFP4 experts, taken apart: one tensor for each expert and projection. Pure.

=============  ==========================  ==========================
tensor         rows first (D2)             columns first (D1)
=============  ==========================  ==========================
weight         U8 [E, rows, cols / 2]      U8 [E, cols / 2, rows]
block scales   E4M3 [E, rows, cols / 16]   E4M3 [E, cols / 16, rows]
other scales   F32 [], [1], [E] or [E, 1]  the same
=============  ==========================  ==========================

``gate_up_proj`` has the rows of the gate first. Sources: exports of nvidia-modelopt
0.47.0 (Llama4, gpt-oss: columns first); vllm#49638 (rows first).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nvfp4_layouts.types import Piece, RewriteError, Stored

#: vLLM 0.32.0, ``mllama4.py``: these models load fused experts by themselves.
LOAD_FUSED_THEMSELVES: Final = frozenset({"Llama4ForConditionalGeneration"})
#: More than any model has; a header that says so is no true one.
MAX_EXPERTS: Final = 65_536
_BLOCK: Final = 16
#: Dtypes of the block scales of MXFP4.
_MX_SCALES: Final = frozenset({"U8", "F8_E8M0"})
_GLOBAL_SCALES: Final = frozenset({"weight_scale_2", "weight_global_scale"})
_FUSED: Final = re.compile(
    r"^(.*\.experts)\.(gate_up_proj|gate_proj|up_proj|down_proj)(?:[._]"
    r"(weight_packed|weight_scale_2|weight_scale|weight_global_scale|input_scale|"
    r"input_global_scale|weight|bias))?$"
)
_HALVES: Final = {"gate_up_proj": ("gate_proj", "up_proj")}
_FIX: Final = "Export it again with nvidia-modelopt 0.47, one tensor for each expert."
_BIAS_FIX: Final = (
    "Serve the model as its maker published it: gpt-oss has MXFP4 experts, and vLLM "
    "serves those."
)


@dataclass(frozen=True, slots=True)
class _Fused:
    """One projection of all experts: suffix to stored name, and how it lies."""

    module: str
    names: Mapping[str, str]
    halves: tuple[str, ...]
    count: int
    transposed: bool


def take_apart(
    tensors: Mapping[str, Stored], architecture: str | None
) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    """Yield what becomes of each tensor of fused NVFP4 experts.

    Raises:
        RewriteError: There are such experts, and how they lie is not certain.
    """
    if architecture in LOAD_FUSED_THEMSELVES:
        return
    packed = packed_experts(tensors)
    if not packed:
        return
    _refuse_twice(tensors, packed)
    _refuse_odd_sizes(tensors, packed)
    _refuse_other_counts(tensors, packed)
    for (module, projection), names in packed.items():
        where, weight = f"{module}.{projection}", tensors[_weight_of(names)]
        if "bias" in names:
            raise _with_biases(tensors, architecture, where, names)
        fused = _Fused(
            module,
            names,
            _HALVES.get(projection, (projection,)),
            weight.shape[0],
            _is_transposed(tensors, weight, where, names),
        )
        for suffix, name in names.items():
            yield name, tuple(_pieces(fused, suffix, tensors[name]))


def packed_experts(
    tensors: Mapping[str, Stored],
) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return the names of fused NVFP4 experts, by their suffixes.

    The keys are the module and the projection.
    """
    if not any(_is_of_all_experts(stored) for stored in tensors.values()):
        return {}
    groups: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in tensors:
        found = _FUSED.match(name)
        if found is not None:
            groups[found[1], found[2]].setdefault(found[3] or "weight", name)
    return {key: names for key, names in groups.items() if _is_nvfp4(tensors, names)}


def told_apart(name: str, seen: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return what of ``seen`` says, together with ``name``, how that one is stored.

    A packed weight of all experts may be MXFP4 until its scales were seen: nothing is
    returned until then.
    """
    found = _FUSED.match(name)
    if found is None:
        return {name: seen[name]}
    suffixes = {
        each: other[3]
        for each in seen
        if (other := _FUSED.match(each)) and other.group(1, 2) == found.group(1, 2)
    }
    if "weight_scale" not in suffixes.values():
        return {}
    return {each: seen[each] for each in suffixes}


def _weight_of(names: Mapping[str, str]) -> str:
    return names.get("weight", names.get("weight_packed", ""))


def _is_of_all_experts(stored: Stored) -> bool:
    return stored.dtype == "U8" and len(stored.shape) == 3


def _is_nvfp4(tensors: Mapping[str, Stored], names: Mapping[str, str]) -> bool:
    """Return whether they are packed, and not MXFP4, which has one kind of scale."""
    weight = tensors.get(_weight_of(names))
    if weight is None or not _is_of_all_experts(weight):
        return False
    scale = tensors.get(names.get("weight_scale", ""))
    return (
        scale is None
        or scale.dtype not in _MX_SCALES
        or not _GLOBAL_SCALES.isdisjoint(names)
    )


def _refuse_twice(
    tensors: Mapping[str, Stored], packed: Mapping[tuple[str, str], Mapping[str, str]]
) -> None:
    """Refuse a tensor that is there with a dot and without."""
    for name in tensors:
        found = _FUSED.match(name)
        if found is None:
            continue
        names = packed.get((found[1], found[2]), {})
        kept = names.get(found[3] or "weight", name)
        if kept != name:
            raise RewriteError(
                f"The fused experts `{found[1]}.{found[2]}` are stored twice.",
                evidence=(kept, name),
                fix="Export the checkpoint again, into an empty folder.",
            )


def _refuse_odd_sizes(
    tensors: Mapping[str, Stored], packed: Mapping[tuple[str, str], Mapping[str, str]]
) -> None:
    """Refuse sizes that no model has, before anything is made for each expert."""
    odd = [
        f"{name} {tensors[name]}"
        for names in packed.values()
        for name in names.values()
        if len(tensors[name].shape) == 3
        and (0 in tensors[name].shape or tensors[name].shape[0] > MAX_EXPERTS)
    ]
    if odd:
        raise RewriteError(
            f"{len(odd):,} tensors of fused NVFP4 experts have an empty side, or more "
            f"than {MAX_EXPERTS:,} experts.",
            evidence=odd[:4],
            fix="Download the checkpoint again; no model has such experts.",
        )


def _refuse_other_counts(
    tensors: Mapping[str, Stored], packed: Mapping[tuple[str, str], Mapping[str, str]]
) -> None:
    """Refuse projections of one layer that have other numbers of experts."""
    first: dict[str, str] = {}
    for (module, _), names in packed.items():
        name = _weight_of(names)
        other = first.setdefault(module, name)
        if tensors[name].shape[0] != tensors[other].shape[0]:
            raise RewriteError(
                f"The projections of the fused NVFP4 experts `{module}` have different "
                "numbers of experts.",
                evidence=[f"{each} {tensors[each]}" for each in (other, name)],
                fix=_FIX,
            )


def _with_biases(
    tensors: Mapping[str, Stored],
    architecture: str | None,
    where: str,
    names: Mapping[str, str],
) -> RewriteError:
    """Return why fused NVFP4 experts with biases cannot be served (vllm#46641)."""
    bias = names["bias"]
    whose = f"`{where}` of {architecture}" if architecture else f"`{where}`"
    return RewriteError(
        f"The fused NVFP4 experts {whose} have biases; vLLM has no place for those "
        "beside NVFP4 experts (vllm#46641).",
        evidence=(
            f"{bias} {tensors[bias]}",
            "such models mix the rows of gate and up, one by one; no cut is right",
        ),
        fix=_BIAS_FIX,
    )


def _is_transposed(
    tensors: Mapping[str, Stored], weight: Stored, where: str, names: Mapping[str, str]
) -> bool:
    """Return whether the columns come first; the block scales tell."""
    scale = tensors.get(names.get("weight_scale", ""))
    if scale is not None and scale.dtype == "F8_E4M3":
        experts, first, second = weight.shape
        covered = tuple(side * _BLOCK for side in scale.shape)
        if covered == (experts * _BLOCK, first * _BLOCK, second * 2):
            return False
        if covered == (experts * _BLOCK, first * 2, second * _BLOCK):
            return True
    raise RewriteError(
        f"How the fused NVFP4 experts `{where}` are to be read is not certain.",
        evidence=[f"{name} {tensors[name]}" for name in names.values()],
        fix=_FIX,
    )


def _pieces(fused: _Fused, suffix: str, stored: Stored) -> Iterator[Piece]:
    """Yield one tensor for each expert, and for each half of a fused gate and up."""
    is_matrix = len(stored.shape) == 3 and stored.shape[0] == fused.count
    one_each = stored.shape in ((fused.count,), (fused.count, 1))
    if not is_matrix and not one_each and not stored.is_scalar:
        raise RewriteError(
            f"`{fused.names[suffix]}` is {stored}, for {fused.count} experts.",
            evidence=("understood: one value for all, or one for each expert",),
            fix=_FIX,
        )
    height, width = stored.shape[1:] if is_matrix else (0, 0)
    if fused.transposed:
        height, width = width, height
    height, rest = divmod(height, len(fused.halves))
    if rest:
        raise RewriteError(
            f"`{fused.names[suffix]}` is {stored}; its rows are no gate and up.",
            evidence=("the rows of the gate are as many as those of up",),
            fix=_FIX,
        )
    called = _called(fused, suffix)
    for expert in range(fused.count):
        for half, projection in enumerate(fused.halves):
            name = f"{fused.module}.{expert}.{projection}.{called}"
            if is_matrix:
                rows = (half * height, (half + 1) * height)
                shape = (height, width)
                yield Piece(name, stored.dtype, shape, expert, fused.transposed, rows)
            else:
                index = expert if one_each else None
                yield Piece(name, stored.dtype, (), index)


def _called(fused: _Fused, suffix: str) -> str:
    """Return the suffix that a loader looks for: ModelOpt's beside its scales."""
    is_modelopt = (
        "weight_scale_2" in fused.names and "weight_global_scale" not in fused.names
    )
    return "weight" if suffix == "weight_packed" and is_modelopt else suffix
