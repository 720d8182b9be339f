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
_BLOCK: Final = 16
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
    if architecture in LOAD_FUSED_THEMSELVES or not any(
        _is_of_all_experts(stored) for stored in tensors.values()
    ):
        return
    groups: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in tensors:
        found = _FUSED.match(name)
        if found is None:
            continue
        names, suffix = groups[found[1], found[2]], found[3] or "weight"
        if suffix in names:
            raise RewriteError(
                f"The fused experts `{found[1]}.{found[2]}` are stored twice.",
                evidence=(names[suffix], name),
                fix="Export the checkpoint again, into an empty folder.",
            )
        names[suffix] = name
    for (module, projection), names in groups.items():
        weight = tensors.get(names.get("weight", names.get("weight_packed", "")))
        if weight is None or not _is_of_all_experts(weight):
            continue
        if "bias" in names:
            raise _with_biases(tensors, architecture, f"{module}.{projection}", names)
        fused = _Fused(
            module,
            names,
            _HALVES.get(projection, (projection,)),
            weight.shape[0],
            _is_transposed(tensors, weight, f"{module}.{projection}", names),
        )
        for suffix, name in names.items():
            yield name, tuple(_pieces(fused, suffix, tensors[name]))


def _is_of_all_experts(stored: Stored) -> bool:
    return stored.dtype == "U8" and len(stored.shape) == 3


def _with_biases(
    tensors: Mapping[str, Stored],
    architecture: str | None,
    where: str,
    names: Mapping[str, str],
) -> RewriteError:
    """Return why fused NVFP4 experts with biases cannot be served (vllm#46641)."""
    bias = names["bias"]
    return RewriteError(
        f"The fused NVFP4 experts `{where}` of {architecture} have biases; vLLM has no "
        "place for those beside NVFP4 experts (vllm#46641).",
        evidence=(
            f"{bias} {tensors[bias]}",
            "such models mix the rows of gate and up, one by one; no cut is right",
        ),
        fix=_BIAS_FIX,
    )


def _is_transposed(
    tensors: Mapping[str, Stored], weight: Stored, where: str, names: dict[str, str]
) -> bool:
    """Return whether the columns come first; the block scales tell."""
    scale = tensors.get(names.get("weight_scale", ""))
    if scale is not None and scale.dtype == "F8_E4M3":
        experts, first, second = weight.shape
        if scale.shape == (experts, first, second * 2 // _BLOCK):
            return False
        if scale.shape == (experts, first * 2 // _BLOCK, second):
            return True
    raise RewriteError(
        f"How the fused NVFP4 experts `{where}` are to be read is not certain.",
        evidence=[f"{name} {tensors[name]}" for name in names.values()],
        fix=_FIX,
    )


def _pieces(fused: _Fused, suffix: str, stored: Stored) -> Iterator[Piece]:
    """Yield one tensor for each expert, and for each half of a fused gate and up."""
    is_matrix = len(stored.shape) == 3
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
    for expert in range(fused.count):
        for half, projection in enumerate(fused.halves):
            name = f"{fused.module}.{expert}.{projection}.{suffix}"
            if is_matrix:
                rows = (half * height, (half + 1) * height)
                shape = (height, width)
                yield Piece(name, stored.dtype, shape, expert, fused.transposed, rows)
            else:
                index = expert if one_each else None
                yield Piece(name, stored.dtype, (), index)
