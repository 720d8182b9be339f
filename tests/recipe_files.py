"""Recipes for tests: as files, and as values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvfp4_serve.recipe.load import load_recipe_file
from nvfp4_serve.recipe.types import Recipe

MODEL = "nvidia/Qwen3-30B-A3B-NVFP4"


def arg(
    value: Any, why: str = "It is needed.", source: str = "a test"
) -> dict[str, Any]:
    """Return a row of ``args`` or ``env``."""
    return {"value": value, "why": why, "source": source}


def variant(**changes: Any) -> dict[str, Any]:
    """Return a variant for any machine with a GPU of 12.0."""
    return {"id": "sm120", "when": {"compute_capability": ["12.0"]}, **changes}


def recipe_data(*variants: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return what a file says, with some keys changed; None takes a key away."""
    data = {
        "schema": "nvfp4-serve/recipe/v1",
        "id": "qwen3",
        "model": {"id": MODEL, "source": "a test"},
        "status": "imported",
        "variants": list(variants or [variant()]),
        **changes,
    }
    return {key: value for key, value in data.items() if value is not None}


def write_recipe(folder: Path, data: Mapping[str, Any]) -> Path:
    """Write ``data`` as a recipe file of its own id, and return its path."""
    # JSON is YAML, and every text in it is quoted.
    path = folder / f"{data.get('id', 'qwen3')}.yaml"
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False))
    return path


def load(folder: Path, *variants: Mapping[str, Any], **changes: Any) -> list[Recipe]:
    """Return the recipes of a file with these variants."""
    return list(
        load_recipe_file(write_recipe(folder, recipe_data(*variants, **changes)))
    )
