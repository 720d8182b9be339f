"""What to doubt of a file of vllm-project/recipes, on the machine that was chosen."""

import re
from collections.abc import Iterator
from typing import Any, Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.layers import Choice, below
from nvfp4_serve.recipe.foreign.types import info, warning
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml
from nvfp4_serve.resources import VLLM_VERSION

_VERSION: Final = re.compile(r"\d+(?:\.\d+){1,2}")
#: Keys that are read, or that say nothing to an engine.
_KEYS: Final = frozenset(
    {
        "meta", "model", "features", "opt_in_features", "variants", "guide",
        "compatible_strategies", "hardware_overrides", "strategy_overrides",
        "default_strategy", "strategy_min_gpus", "strategy_hardware",
        "hardware_opt_in_features", "hardware_notes", "kv_offload_support",
        "kv_cache_strategy_hardware",
    }
)  # fmt: skip
_MODEL_KEYS: Final = frozenset(
    {
        "model_id", "min_vllm_version", "architecture", "parameter_count",
        "active_parameters", "context_length", "base_args", "base_env",
        "nightly_required", "docker_image", "docker_source", "supports_dcp",
    }
)  # fmt: skip
_VARIANT_KEYS: Final = frozenset(
    {
        "precision", "model_id", "vram_minimum_gb", "description", "extra_args",
        "extra_env", "tp", "hardware_overrides", "label", "supported_hardware",
        "min_vllm_version", "precision_hardware", "default_modes", "docker_image",
    }
)  # fmt: skip


def doubts(source: ForeignYaml, label: str, choice: Choice) -> Iterator[Finding]:
    """Yield what is to be doubted."""
    yield from _family(source, label, choice)
    yield from _memory(source, label, choice)
    yield from _older(source, label, choice)
    yield from _unread(source, label, choice)


def least_vllm(data: dict[str, Any], variant: str) -> str | None:
    """Return the oldest vLLM that the file is for, or None: it does not say."""
    told = below(data, "variants", variant, "min_vllm_version") or below(
        data, "model", "min_vllm_version"
    )
    text = str(told).removeprefix("v")
    return text if _VERSION.fullmatch(text) else None


def _older(source: ForeignYaml, label: str, choice: Choice) -> Iterator[Finding]:
    """Say where the file asks for a vLLM that is newer than ours."""
    variant = choice.variant
    least = least_vllm(source.data, variant)
    if least and _numbers(least) > _numbers(VLLM_VERSION):
        yield warning(
            "newer-vllm-needed",
            f"{label}: `{variant}` asks for vLLM {least} at least; the engine here is "
            f"{VLLM_VERSION}.",
            "The recipe has that as a condition, and so fits nowhere yet.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _unread(source: ForeignYaml, label: str, choice: Choice) -> Iterator[Finding]:
    """Say which keys there are that this does not know."""
    data = source.data
    left = [key for key in data if key not in _KEYS]
    for path, known in (
        (("model",), _MODEL_KEYS),
        (("variants", choice.variant), _VARIANT_KEYS),
    ):
        block = below(data, *path)
        if isinstance(block, dict):
            left += (f"{'.'.join(path)}.{key}" for key in block if key not in known)
    if left:
        yield info(
            "keys-not-read",
            f"{label}: these keys are not read: {', '.join(left)}.",
            "Look at them; they may matter to the engine.",
        )


def _memory(source: ForeignYaml, label: str, choice: Choice) -> Iterator[Finding]:
    """Say where the file itself wants more memory than the machines have."""
    path = ("variants", choice.variant, "vram_minimum_gb")
    needed = below(source.data, *path)
    has = choice.profile.memory * choice.nodes
    if isinstance(needed, int | float) and needed > has:
        yield warning(
            "memory-too-small",
            f"{label}:{source.line(*path)}: the variant needs {needed:g} GB, and "
            f"{choice.nodes} `{choice.profile.name}` have {has} GB.",
            "Name more machines with `--nodes`, or another variant.",
        )


def _family(source: ForeignYaml, label: str, choice: Choice) -> Iterator[Finding]:
    """Say where flags of a whole family reach a GPU of another kind."""
    if not choice.profile.compute_capability.startswith("12."):
        return
    blocks = ("hardware_overrides", choice.profile.generation)
    paths: tuple[tuple[str, ...], ...] = (
        blocks,
        ("variants", choice.variant, *blocks),
        ("strategy_overrides", choice.strategy, *blocks),
    )
    for path in paths:
        block = below(source.data, *path)
        words = below(block, "extra_args") if block else None
        if isinstance(words, list) and words:
            yield warning(
                "family-is-no-gpu",
                f"{label}:{source.line(*path)}: these flags are for every "
                f"`{choice.profile.generation}` GPU, the datacentre's and this one "
                f"alike: {' '.join(map(str, words))}.",
                "Hold each against the compute capability; 10.x and 12.x have "
                "different kernels.",
            )
