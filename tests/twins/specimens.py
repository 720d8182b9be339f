"""The checkpoints and texts that the tests of twins use, and the tolerances."""

from pathlib import Path
from typing import Final

import numpy as np

from twins.bench import Tokens, Tolerance
from twins.producer import ROOT, Twin

EXAMPLE: Final[Path] = ROOT / "examples" / "sonnet-18-nvfp4"

MOE: Final = Twin(architecture="Qwen3MoeForCausalLM", seed=11)
DENSE: Final = Twin(architecture="Qwen3ForCausalLM", seed=12)
WEIGHT_ONLY_MOE: Final = Twin(
    architecture="Qwen3MoeForCausalLM", scheme="W4A16_NVFP4", seed=13, hidden=192
)
FP8_CACHE_MOE: Final = Twin(
    architecture="Qwen3MoeForCausalLM", kv_cache="FP8", seed=14, experts=5
)
FP8_CACHE_DENSE: Final = Twin(
    architecture="Qwen3ForCausalLM", scheme="W4A16_NVFP4", kv_cache="FP8", seed=15
)
FRESH_TWINS: Final = (MOE, DENSE, WEIGHT_ONLY_MOE, FP8_CACHE_MOE, FP8_CACHE_DENSE)

#: A right engine, computing with dequantized weights in bfloat16. Measured with
#: vLLM 0.32.0 on AVX-512, 2026-11-21: mean 0.02 to 0.03, worst 0.11 to 0.40 (the
#: largest at tokens of probability e^-10).
BFLOAT16: Final = Tolerance(mean=0.08, worst=0.8, routing=0.1)
#: The same with an FP8 KV cache. vLLM 0.32.0's CPU cache drops the low bits of keys
#: and values where the reference rounds to the nearest: mean 0.07 to 0.15, worst 0.4
#: to 1.0. Remeasure: `pytest tests/twins -m engine -rP`.
FP8_CACHE: Final = Tolerance(mean=0.3, worst=2.0, routing=0.1)


def tolerance_of(twin: Twin) -> Tolerance:
    """Return how far a right engine may be from the reference of ``twin``."""
    return FP8_CACHE if twin.kv_cache == "FP8" else BFLOAT16


def random_texts(vocabulary: int) -> tuple[Tokens, ...]:
    """Return three texts of random tokens, always the same."""
    generator = np.random.default_rng(18)
    return tuple(
        tuple(generator.integers(vocabulary, size=length).tolist())
        for length in (48, 33, 17)
    )
