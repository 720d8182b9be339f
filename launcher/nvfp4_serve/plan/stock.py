"""Look up what stock vLLM would choose and allow, in one situation. Pure."""

from typing import Final, TypeVar

from nvfp4_serve.plan.backends import Target
from nvfp4_serve.plan.matching import Situation
from nvfp4_serve.recipe.stock import (
    AttentionCell,
    Cell,
    LinearCell,
    MoeCell,
    Stock,
)

_C = TypeVar("_C", bound=Cell)

#: Of activations that were not asked about nothing is known.
_DRAFTS: Final = {"MXFP4": "mxfp4_moe", "BF16": "plain_moe", "F16": "plain_moe"}


def moe_cell(stock: Stock, target: Target, situation: Situation) -> MoeCell | None:
    """Return the answer for the routed experts; None where it was not asked."""
    if situation.experts is None:
        return None
    return _moe(stock.moe, target, situation, situation.experts)


def draft_cell(stock: Stock, target: Target, situation: Situation) -> MoeCell | None:
    """Return the answer for the experts of the draft; None where it was not asked."""
    scheme = situation.draft
    if scheme in {"NVFP4", "W4A16_NVFP4"}:
        return _moe(stock.moe, target, situation, scheme)
    if scheme not in _DRAFTS:
        return None
    cells: tuple[MoeCell, ...] = getattr(stock, _DRAFTS[scheme])
    return _moe(cells, target, situation, "MXFP4" if scheme == "MXFP4" else "BF16")


def linear_cell(
    stock: Stock, target: Target, situation: Situation
) -> LinearCell | None:
    """Return the answer for NVFP4 layers that are no experts; None: not asked."""
    return _first(
        [cell for cell in stock.linear if cell.scheme == situation.linear], target
    )


def attention_cell(
    stock: Stock, target: Target, situation: Situation, kv_cache_dtype: str
) -> AttentionCell | None:
    """Return the answer for attention with a cache of that type; None: not asked."""
    word = _cache_word(situation, kv_cache_dtype)
    for cell in stock.attention:
        if (
            target.capability in cell.capabilities
            and cell.kind == situation.attention
            and cell.kv_cache_dtype == word
        ):
            return cell
    return None


def _cache_word(situation: Situation, asked: str) -> str | None:
    """Return the cache as the table calls it; None for those that it does not have.

    Source:
        vLLM 0.32.0, utils/torch_utils.py: `auto` is what the checkpoint says.
    """
    if situation.attention == "deepseek-v4":
        return "fp8"
    if asked == "auto":
        asked = {"FP8": "fp8", "NVFP4": "nvfp4"}.get(situation.kv_cache, "auto")
    words = {"fp8_e4m3": "fp8", "bfloat16": "auto", "float16": "auto"}
    asked = words.get(asked, asked)
    return asked if asked in {"auto", "fp8", "nvfp4"} else None


def _moe(
    cells: tuple[MoeCell, ...], target: Target, situation: Situation, scheme: str
) -> MoeCell | None:
    alike = [
        cell
        for cell in cells
        if cell.scheme == scheme
        and cell.expert_parallel == situation.expert_parallel
        and cell.activation == situation.activation
        and cell.swiglu_limit == bool(situation.swiglu_limit)
    ]
    return _first(alike, target)


def _first(cells: list[_C], target: Target) -> _C | None:
    return next((c for c in cells if target.capability in c.capabilities), None)
