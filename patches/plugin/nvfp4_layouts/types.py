"""What a rewrite is. Values only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class RewriteError(ValueError):
    """These tensors cannot be served, and no renaming makes them right."""

    def __init__(self, problem: str, *, evidence: Iterable[str], fix: str) -> None:
        self.problem = problem
        self.evidence = tuple(evidence)
        self.fix = fix
        lines = (problem, *(f"  {line}" for line in self.evidence), f"Fix: {fix}")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as the header of its shard describes it.

    Attributes:
        dtype: The format's own word: ``U8``, ``F8_E4M3``, ``F32``, ...
        shape: As stored.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def is_scalar(self) -> bool:
        """Whether it holds one value."""
        return self.shape in ((), (1,))

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor that comes of a stored one.

    The steps are taken in the order of the fields.

    Attributes:
        name: What it is called.
        dtype: Of the result.
        shape: Of the result.
        expert: Take this index of the first side.
        transpose: Swap the two sides that are left.
        rows: Take these rows: the first, and one behind the last.
        divisor: Divide by it, in float32.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    expert: int | None = None
    transpose: bool = False
    rows: tuple[int, int] | None = None
    divisor: float | None = None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What becomes of the tensors of a checkpoint.

    Attributes:
        kinds: ``projection-first``, ``quantizer-state``, ``fused``, ``packed-name``.
        pieces: Stored name to what comes of it; an empty tuple where nothing does. A
            tensor that is not named here stays what it is.
    """

    kinds: frozenset[str]
    pieces: Mapping[str, tuple[Piece, ...]]
