"""Which tensors a loader should see in place of those that are stored. Pure.

=================  ===============================  ================================
kind               stored                           becomes
=================  ===============================  ================================
quantizer-state    ``M.weight_quantizer._scale``    ``M.weight_scale`` and so on
fused              all experts in one packed tensor one tensor for each expert
packed-name        ``M.weight_packed``, and scales  ``M.weight``
                   of ModelOpt
projection-first   ``experts.PROJECTION.N.SUFFIX``  ``experts.N.PROJECTION.SUFFIX``
=================  ===============================  ================================

Sources: vllm#38980 and nvidia-modelopt 0.37.0, ``RealQuantLinear``; vllm#49638;
vllm#40885 (the last two).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final

from nvfp4_layouts.fused import take_apart
from nvfp4_layouts.names import PROJECTION_FIRST
from nvfp4_layouts.state import name_state
from nvfp4_layouts.types import Piece, Rewrite, RewriteError, Stored

_BLOCK: Final = 16
_WEIGHTS: Final = ("weight", "weight_packed")
_SCALES: Final = ("weight_scale", "scale")


def make_rewrite(
    tensors: Mapping[str, Stored], architecture: str | None
) -> Rewrite | None:
    """Return what a loader should see, or None where that is what is stored.

    Args:
        tensors: Every tensor of every shard.
        architecture: ``architectures[0]`` of config.json.

    Raises:
        RewriteError: No loader could serve them right.
    """
    _refuse_wrong_scales(tensors)
    pieces: dict[str, tuple[Piece, ...]] = {}
    kinds: set[str] = set()
    for kind, found in (
        ("quantizer-state", name_state(tensors)),
        ("fused", take_apart(tensors, architecture)),
        ("packed-name", _packed_names(tensors, pieces)),
        ("projection-first", _expert_first(tensors, pieces)),
    ):
        for name, made in found:
            kinds.add(kind)
            pieces[name] = made
    if not pieces:
        return None
    _refuse_collisions(tensors, pieces)
    return Rewrite(frozenset(kinds), pieces)


def _expert_first(
    tensors: Mapping[str, Stored], pieces: Mapping[str, tuple[Piece, ...]]
) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    """Yield what has the projection before the number, whatever else became of it."""
    for name, stored in tensors.items():
        found = PROJECTION_FIRST.search(name)
        # What stands at the end is the tensor's own name, and no module's.
        if found is not None and found.end() < len(name):
            made = pieces.get(name, (Piece(name, stored.dtype, stored.shape),))
            yield name, tuple(map(_with_expert_first, made))


def _with_expert_first(piece: Piece) -> Piece:
    name = PROJECTION_FIRST.sub(r".experts.\2.\1", piece.name)
    return dataclasses.replace(piece, name=name)


def _packed_names(
    tensors: Mapping[str, Stored], pieces: Mapping[str, tuple[Piece, ...]]
) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    """Yield weights under compressed-tensors' name beside the scales of ModelOpt."""
    for name, stored in tensors.items():
        if not name.endswith(".weight_packed") or name in pieces:
            continue
        module = name.removesuffix(".weight_packed")
        if (
            f"{module}.weight_scale_2" in tensors
            and f"{module}.weight_global_scale" not in tensors
        ):
            yield name, (Piece(f"{module}.weight", stored.dtype, stored.shape),)


def _refuse_wrong_scales(tensors: Mapping[str, Stored]) -> None:
    """Refuse block scales that do not cover their weight (vllm#38980).

    vLLM would load them without a word, and leave the rest of each row as it was.
    """
    wrong = []
    for name, packed in tensors.items():
        # The dtype first: it spares most names of a large checkpoint the rest.
        if packed.dtype != "U8" or len(packed.shape) != 2:
            continue
        module, _, suffix = name.rpartition(".")
        if suffix not in _WEIGHTS:
            continue
        for scale_name in _SCALES:
            scale = tensors.get(f"{module}.{scale_name}")
            if scale is None or scale.dtype != "F8_E4M3" or not scale.shape:
                continue
            covered = (*scale.shape[:-1], scale.shape[-1] * _BLOCK)
            if covered != (packed.shape[0], packed.shape[1] * 2):
                found = f"{module}.{scale_name} {scale} does not cover {name} {packed}"
                wrong.append(found)
    if wrong:
        raise RewriteError(
            f"The block scales of {len(wrong):,} NVFP4 weights do not cover them; the "
            "true ones are lost (vllm#38980).",
            evidence=wrong[:4],
            fix="Export it again with nvidia-modelopt 0.46 or newer, from the original "
            "weights.",
        )


def _refuse_collisions(
    tensors: Mapping[str, Stored], pieces: Mapping[str, tuple[Piece, ...]]
) -> None:
    """Refuse two tensors of one name: one of them would be lost."""
    taken = {name for name in tensors if name not in pieces}
    twice = []
    for made in pieces.values():
        for piece in made:
            if piece.name in taken:
                twice.append(piece.name)
            taken.add(piece.name)
    if twice:
        raise RewriteError(
            f"{len(twice):,} tensors are stored twice, in two layouts.",
            evidence=twice[:4],
            fix="Export the checkpoint again, into an empty folder.",
        )
