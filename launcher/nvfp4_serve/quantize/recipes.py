"""The configurations of ModelOpt 0.47.0 that write NVFP4, by its own names. Pure."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from nvfp4_serve.errors import UsageError


@dataclass(frozen=True, slots=True)
class Recipe:
    """One configuration of ModelOpt's.

    Attributes:
        name: ModelOpt's.
        inputs: It sets scales of activations, so it needs text to calibrate with.
        packs: Classes of modules (``checkpoint.modules``) of which it may pack some;
            of the others it packs none.
    """

    name: str
    inputs: bool
    packs: frozenset[str]


_NO_ATTENTION: Final = frozenset(
    {"routed_experts", "shared_experts", "mlp", "mtp", "vision", "other"}
)
#: The embeddings, the head and the router are left by every recipe.
_ALL: Final = _NO_ATTENTION | {"attention"}
_W4A4: Final = {
    "NVFP4_DEFAULT_CFG": _ALL,
    "NVFP4_EXPERTS_ONLY_CFG": _NO_ATTENTION,
    "NVFP4_MLP_ONLY_CFG": _NO_ATTENTION,
    "NVFP4_OMLP_ONLY_CFG": _ALL,
    "MAMBA_MOE_NVFP4_AGGRESSIVE_CFG": _ALL,
    "MAMBA_MOE_NVFP4_CONSERVATIVE_CFG": _ALL,
}
RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {name: Recipe(name, inputs=True, packs=packs) for name, packs in _W4A4.items()}
    | {"W4A16_NVFP4_CFG": Recipe("W4A16_NVFP4_CFG", inputs=False, packs=_ALL)}
)

_SMOOTHED: Final = "no vLLM serves its pre-scaled weights (vllm#45333)"
_BLOCK: Final = "it writes blocks of 32, and vLLM loads blocks of 16"
_STATIC: Final = "its search for scales needs triton and a GPU; we quantize on the CPU"
_KV_ONLY: Final = "it quantizes the KV cache alone, no weight"
#: What ModelOpt has and we refuse, and why.
REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "NVFP4_AWQ_LITE_CFG": _SMOOTHED,
        "NVFP4_AWQ_CLIP_CFG": _SMOOTHED,
        "NVFP4_AWQ_FULL_CFG": _SMOOTHED,
        "NVFP4_SVDQUANT_DEFAULT_CFG": _SMOOTHED,
        "NVFP4_FOUR_OVER_SIX_CFG": _STATIC,
        "NVFP4_W4A4_WEIGHT_MSE_FP8_SWEEP_CFG": _STATIC,
        "NVFP4_W4A4_WEIGHT_LOCAL_HESSIAN_CFG": _STATIC,
        "NVFP4_MLP_WEIGHT_ONLY_CFG": _BLOCK,
        "W4A8_NVFP4_FP8_CFG": _BLOCK,
        "NVFP4_FP8_MHA_CONFIG": "vLLM does not read its quantizers of attention",
        "NVFP4_KV_CFG": _KV_ONLY,
        "NVFP4_KV_ROTATE_CFG": _KV_ONLY,
        "NVFP4_AFFINE_KV_CFG": _KV_ONLY,
    }
)


def recipe_of(name: str) -> Recipe:
    """Return the recipe that is called ``name``.

    Raises:
        UsageError: There is none, or what it writes could not be served.
    """
    if recipe := RECIPES.get(name):
        return recipe
    offered = tuple(RECIPES)
    if why := REFUSED.get(name):
        raise UsageError(
            f"The recipe `{name}` is not offered: {why}.",
            evidence=offered,
            fix="Take one of these.",
        )
    near = difflib.get_close_matches(name.upper(), (*RECIPES, *REFUSED), n=1)
    raise UsageError(
        f"ModelOpt has no recipe `{name}` that writes NVFP4."
        + (f" Did you mean `{near[0]}`?" if near else ""),
        evidence=offered,
        fix="Take one of these; the names are ModelOpt's own.",
    )
