"""What is asked of the quantizer, and what it answers. Values only."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wish:
    """What stands on the command line of `quantize`.

    Attributes:
        model: A folder, or a Hub id.
        out: The folder of the new checkpoint; it must not be there.
        recipe: A configuration of ModelOpt's, by its own name.
        kv_cache: ``fp8``, or None to leave the KV cache as it is.
        calibration: A text file, or JSON lines; None where none was given.
        calib_samples: At most so many pieces of it are shown to the model.
        calib_length: Tokens of a piece, at most.
        dtype: In which the model is loaded, and what is not quantized stays.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run the Python files that come with the model.
    """

    model: str
    out: Path
    recipe: str
    kv_cache: str | None
    calibration: Path | None
    calib_samples: int
    calib_length: int
    dtype: str
    revision: str | None
    trust_remote_code: bool


@dataclass(frozen=True, slots=True)
class Meant:
    """One matrix that the recipe means to quantize.

    Attributes:
        name: Its module's name in the checkpoint that is written.
        inputs: Its input is to be quantized too, so it needs an ``input_scale``.
    """

    name: str
    inputs: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """What the quantizer said of its work.

    Attributes:
        meant: Everything that the recipe means to quantize.
        left_out: Tensors of the model that transformers did not load.
    """

    meant: tuple[Meant, ...]
    left_out: tuple[str, ...]
