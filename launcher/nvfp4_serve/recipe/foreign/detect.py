"""Which of the foreign formats a text is; or what each of them finds lacking."""

import enum
import re
from typing import Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

#: What a text needs, to be taken for a format.
LACKING: Final = (
    "sparkrun needs `model`, and `runtime`, `defaults` or `command`",
    "eugr needs `recipe_version: 1`, `container` and `command`",
    "vllm-recipes needs `meta` and `variants`; or JSON with `argv`",
    "compose needs `services`",
    "command needs a line with `vllm serve` or `docker run`",
)


class Form(enum.StrEnum):
    """The formats that are read."""

    SPARKRUN = "sparkrun"
    EUGR = "eugr"
    VLLM_RECIPES = "vllm-recipes"
    COMPOSE = "compose"
    COMMAND = "command"


def looks_like_command(text: str) -> bool:
    """True where some line begins as a shell's would, and none as a recipe's."""
    is_yaml = re.search(
        r"(?m)^(?:model|command|recipe_version|services|runtime|variants|container):",
        text,
    )
    words = (
        r"(?:\S*/)?vllm\s+[a-z]|docker\s|podman\s|python3?\s+-m\s|sglang\s"
        r"|trtllm-serve\s|llama-server\s"
    )
    return is_yaml is None and bool(re.search(rf"(?m)(?:^|[\s;&|])(?:{words})", text))


def form_of(source: ForeignYaml, label: str) -> Form:
    """Return the format of a YAML text.

    Raises:
        RecipeError: With what each format lacks.
    """
    keys = set(source.data) if isinstance(source.data, dict) else set()
    if "services" in keys:
        return Form.COMPOSE
    if "meta" in keys and ("variants" in keys or "hardware_overrides" in keys):
        return Form.VLLM_RECIPES
    version = source.data.get("recipe_version") if keys else None
    is_first = str(version) == "1" and "runtime" not in keys
    if is_first and {"command", "container"} <= keys:
        return Form.EUGR
    if "model" in keys and keys & {"runtime", "recipe_version", "defaults", "command"}:
        return Form.SPARKRUN
    found = ", ".join(sorted(map(str, keys))[:12]) or "no mapping"
    raise RecipeError(
        f"{label} is none of the formats that are read; it has {found}.",
        evidence=LACKING,
        fix="Say which it is with `--format`.",
    )
