"""The global scales of weights that vLLM puts into one parameter: which to read. Pure.

Their values are the only thing that no header says: 4 bytes each, and of few modules.
"""

import math
import re
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from nvfp4_serve.checkpoint.header import Entry, Header
from nvfp4_serve.checkpoint.types import ScalePair

#: Pairs that are read of one shard. A checkpoint may have 71,000 of them, each in
#: another page of its file; what one exporter does, it does everywhere.
PAIRS_OF_A_SHARD: Final = 64
#: The first of each pair; vLLM takes its scale for the second too, or the larger one.
_FIRST: Final = re.compile(
    r"\b(gate_proj|w1|q_proj)\b(?=\.(?:\d+\.)?"
    r"(?:weight_scale_2|weight_global_scale|weight_quantizer\._double_scale)$)"
)
_SECOND: Final = {"gate_proj": "up_proj", "w1": "w3", "q_proj": "k_proj"}

#: Two names, and where their values are in the body of the shard.
Place = tuple[str, str, int, int]


def pick_pairs(header: Header) -> list[Place]:
    """Return the pairs of scalars to read of the shard that ``header`` describes."""
    half = PAIRS_OF_A_SHARD // 2
    first = list(islice(_pairs(header.items(), header), half))
    last = list(islice(_pairs(reversed(list(header.items())), header), half))
    # In a shard of fewer pairs some are found from both ends.
    return list(dict.fromkeys((*first, *reversed(last))))


def decode_pair(place: Place, first: bytes, second: bytes) -> ScalePair:
    """Return the values that were read at ``place``."""
    one, two = struct.unpack("<f", first)[0], struct.unpack("<f", second)[0]
    return ScalePair(place[0], place[1], one, two)


def differ(pair: ScalePair) -> bool:
    """Return whether vLLM would say so: its tolerance is ``torch.allclose``'s."""
    return not math.isclose(pair.one, pair.two, rel_tol=1e-5, abs_tol=1e-8)


def _pairs(entries: Iterable[tuple[str, Entry]], header: Header) -> Iterator[Place]:
    for name, entry in entries:
        if not _is_scalar(entry):
            continue
        found = _FIRST.search(name)
        if found is None:
            continue
        other = f"{name[: found.start()]}{_SECOND[found[1]]}{name[found.end() :]}"
        partner = header.get(other)
        if partner is not None and _is_scalar(partner):
            yield name, other, entry.data_offsets[0], partner.data_offsets[0]


def _is_scalar(entry: Entry) -> bool:
    return entry.dtype == "F32" and entry.shape in ((), (1,))
