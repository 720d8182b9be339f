"""vllm-project/recipes: one variant, on one machine, -> a launch.

Serving on one node or with tensor parallelism over several is read; what that project
calls DEP, PP and PD over several nodes is not.

Source:
    vllm-project/recipes of 2026-08-21, ``src/lib/command-synthesis.js``: the order of
    the layers, and how the number of GPUs is chosen. Its words: strategy, variant,
    feature, mode.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.foreign.doubts import doubts, least_vllm
from nvfp4_serve.recipe.foreign.hardware import PROFILES, Profile
from nvfp4_serve.recipe.foreign.layers import (
    Choice,
    below,
    keyed,
    launch_words,
    settings_of,
)
from nvfp4_serve.recipe.foreign.types import Launch, Machine, info
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

_MULTI: Final = ("multi_node_tp", "multi_node_dep", "multi_node_tep")
_READ: Final = frozenset(
    {"single_node_tp", "single_node_tep", "single_node_dep", "multi_node_tp",
     "multi_node_tep"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user says of the variant; None: choose."""

    variant: str | None = None
    strategy: str | None = None


def read_vllm_recipes(
    source: ForeignYaml, label: str, target: Machine, asked: Asked
) -> Launch:
    """Return the way in which one variant is started on one machine.

    Raises:
        RecipeError: Which variant, or which machine, is not said.
    """
    variant = _variant(source, label, asked)
    profile = _profile(source, label, target)
    choice = _choice(source, label, (variant, profile), target, asked)
    data = source.data
    return Launch(
        words=launch_words(source, choice),
        environment=settings_of(source, choice),
        image=_image(data, choice),
        image_line=source.line("model", "docker_image"),
        model=str(_model(data, variant)),
        named=f"{variant}, {choice.strategy}, {profile.name}",
        machine=replace(profile.machine, nodes=choice.nodes),
        least_vllm=least_vllm(data, variant),
        findings=(
            info(
                "variant-chosen",
                f"{label}: the variant `{variant}` on `{profile.name}`, "
                f"{choice.strategy}, {choice.nodes} node(s).",
                "`--variant`, `--gpu` and `--strategy` name another.",
            ),
            *doubts(source, label, choice),
        ),
    )


def _model(data: dict[str, Any], variant: str) -> object:
    return below(data, "variants", variant, "model_id") or below(
        data, "model", "model_id"
    )


def _variant(source: ForeignYaml, label: str, asked: Asked) -> str:
    variants = source.data.get("variants")
    if not isinstance(variants, dict) or not variants:
        raise RecipeError(f"{label} has no `variants`.", fix="Give another file.")
    nvfp4 = [
        name
        for name, variant in variants.items()
        if "nvfp4" in str(below(variant, "precision")).lower()
        or "nvfp4" in str(below(variant, "model_id")).lower()
    ]
    if asked.variant in variants:
        return str(asked.variant)
    if asked.variant is None and len(nvfp4) == 1:
        return str(nvfp4[0])
    raise RecipeError(
        f"{label} has {len(nvfp4)} variants in NVFP4"
        + (f", and none called `{asked.variant}`." if asked.variant else "."),
        evidence=tuple(
            f"line {source.line('variants', name)}: {name}" for name in variants
        ),
        fix="Name one with `--variant`.",
    )


def _profile(source: ForeignYaml, label: str, target: Machine) -> Profile:
    """Return the machine in the words of that project."""
    if target.name in PROFILES:
        return PROFILES[str(target.name)]
    near = [
        profile
        for profile in PROFILES.values()
        if target.compute_capability in {None, profile.compute_capability}
        and target.gpus in {None, profile.gpus}
    ]
    told = below(source.data, "meta", "hardware")
    named = [p for p in near if isinstance(told, dict) and p.name in told]
    found = near if len(near) == 1 else named
    if target.compute_capability is not None and len(found) == 1:
        return found[0]
    raise RecipeError(
        f"{label}: it is not said for which machine it is wanted.",
        evidence=(
            f"the file names {', '.join(told) if isinstance(told, dict) else 'none'}",
            f"known are {', '.join(PROFILES)}",
        ),
        fix="Name one of them: `--gpu b300`.",
    )


def _choice(
    source: ForeignYaml,
    label: str,
    of: tuple[str, Profile],
    target: Machine,
    asked: Asked,
) -> Choice:
    variant, profile = of
    data = source.data
    needed = below(data, "variants", variant, "vram_minimum_gb")
    needed = needed if isinstance(needed, int | float) else 0
    offered = _offered(data, profile)
    fits = needed <= profile.memory
    if not fits and not profile.is_scalable:
        raise RecipeError(
            f"{label}: the variant `{variant}` needs {needed:g} GB; `{profile.name}` "
            f"has {profile.memory} GB and cannot be joined to another.",
            fix="Name another variant or another machine.",
        )
    can_spread = profile.is_scalable and any(name in offered for name in _MULTI)
    nodes = max(target.nodes, 2 if not fits and can_spread else 1)
    strategy = asked.strategy or _recommended(data, offered, nodes)
    if strategy not in _READ:
        raise RecipeError(
            f"{label}: the strategy `{strategy}` is not read.",
            evidence=(f"it offers {', '.join(offered)}",),
            fix=f"Name one of {', '.join(sorted(_READ))} with `--strategy`.",
        )
    if strategy.startswith("multi"):
        nodes = max(nodes, 2, math.ceil(_least(data, strategy, profile) / profile.gpus))
    return Choice(variant, profile, strategy, nodes)


def _offered(data: dict[str, Any], profile: Profile) -> list[str]:
    listed = below(data, "compatible_strategies")
    gates = below(data, "strategy_hardware")
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    if isinstance(gates, dict):
        names += [name for name in gates if name not in names]
    return [name for name in names if _is_offered(data, name, profile)]


def _is_offered(data: dict[str, Any], name: str, profile: Profile) -> bool:
    gate = keyed(below(data, "strategy_hardware", name), profile)
    if gate is not None:
        return bool(gate != "unsupported")
    listed = below(data, "compatible_strategies")
    return isinstance(listed, list) and name in listed


def _recommended(data: dict[str, Any], offered: list[str], nodes: int) -> str:
    wanted = str(below(data, "default_strategy") or "")
    sibling = wanted.replace("single_node_", "multi_node_")
    order = [sibling, *_MULTI] if nodes > 1 else [wanted, "single_node_tp"]
    found = next((name for name in order if name in offered), None)
    return found or (offered[0] if offered else "single_node_tp")


def _least(data: dict[str, Any], strategy: str, profile: Profile) -> int:
    """Return the fewest GPUs that a strategy may have."""
    told = below(data, "strategy_min_gpus")
    short = strategy.partition("_node_")[2]
    found = [0]
    for block in (told, below(told, profile.name)):
        if isinstance(block, int):
            found.append(block)
        for key in (strategy, short):
            value = below(block, key)
            if isinstance(value, int):
                found.append(value)
    return max(found)


def _image(data: dict[str, Any], choice: Choice) -> str:
    """Return the image: of the variant there, of the variant, of the model."""
    variant = below(data, "variants", choice.variant)
    for told in (
        below(variant, "hardware_overrides", choice.profile.name, "docker_image"),
        below(variant, "docker_image"),
        below(data, "model", "docker_image"),
    ):
        nvidia = told.get("nvidia", told) if isinstance(told, dict) else told
        if isinstance(nvidia, dict):
            nvidia = nvidia.get("cu130") or nvidia.get("cu129")
        if isinstance(nvidia, str):
            return nvidia
    is_nightly = below(data, "model", "nightly_required") is True
    return f"vllm/vllm-openai:{'nightly' if is_nightly else 'latest'}"
