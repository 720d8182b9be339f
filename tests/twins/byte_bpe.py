"""Byte-level BPE, as far as the example needs it: English text and special tokens."""

import itertools
import json
import re
from pathlib import Path
from typing import Final

#: Contractions, words and signs with the blank before them, other white space.
_PIECES: Final = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
)


class Encoder:
    """Turns text into the token ids of a ``tokenizer.json``."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text())
        self._ids: dict[str, int] = content["model"]["vocab"]
        merges = content["model"]["merges"]
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
        special = [token["content"] for token in content["added_tokens"]]
        self._special = re.compile("(" + "|".join(map(re.escape, special)) + ")")

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of ``text``; it must be ASCII."""
        ids: list[int] = []
        for number, part in enumerate(self._special.split(text)):
            if number % 2:
                ids.append(self._ids[part])
            else:
                for piece in _PIECES.findall(part):
                    ids += [self._ids[symbol] for symbol in self._merged(piece)]
        return tuple(ids)

    def _merged(self, piece: str) -> list[str]:
        # Byte-level BPE writes a blank as U+0120 and a line break as U+010A.
        symbols = [chr(ord(c) + 0x100) if c in " \n" else c for c in piece]
        while True:
            pairs = list(itertools.pairwise(symbols))
            known = [pair for pair in pairs if pair in self._ranks]
            if not known:
                return symbols
            at = pairs.index(min(known, key=self._ranks.__getitem__))
            symbols[at : at + 2] = ["".join(pairs[at])]
