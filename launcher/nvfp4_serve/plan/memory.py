"""How much memory a checkpoint and its KV cache take. Pure arithmetic."""

from nvfp4_serve.checkpoint.types import Layout


def kv_bytes_per_token(layout: Layout, dtype: str | None = None) -> int | None:
    """Return the bytes of KV cache that one token takes, over all layers.

    ``2 (K and V) x layers x kv_heads x head_dim x bytes a value``; a value takes one
    byte in an FP8 cache, else two.

    Args:
        layout: The checkpoint; it may ask for an FP8 cache itself.
        dtype: ``--kv-cache-dtype`` as the user gave it; None or ``auto`` leaves it
            to the checkpoint.

    Returns:
        None where the attention is not plain (MLA, linear, hybrid): not known here.
    """
    attention = layout.attention
    if attention is None:
        return None
    if dtype is None or dtype == "auto":
        is_fp8 = layout.schemes.get("kv_cache") == "FP8"
    else:
        is_fp8 = dtype.startswith("fp8")
    value_bytes = 1 if is_fp8 else 2
    return 2 * attention.layers * attention.kv_heads * attention.head_dim * value_bytes


def longest_that_fits(
    kv_cache: int, per_token: int, longest: int, step: int
) -> int | None:
    """Return the most tokens of one sequence that a KV cache holds.

    Args:
        kv_cache: Bytes.
        per_token: Bytes.
        longest: The model's own limit.
        step: Tokens of one block; the answer is a multiple of it, or ``longest``.

    Returns:
        None when not even one block fits.
    """
    fits = kv_cache // per_token
    if fits >= longest:
        return longest
    return (fits // step) * step or None
