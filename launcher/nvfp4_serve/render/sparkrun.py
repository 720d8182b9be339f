"""A Plan as a recipe of sparkrun's, version 2.

Source:
    sparkrun 0.4.2, ``core/recipe.py``: the fields, and that ``{name}`` in a command is
    replaced where ``defaults`` has the name.
"""

import json
import re
import shlex
from typing import Any, Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.types import Plan
from nvfp4_serve.recipe.yaml_text import Block, render_yaml
from nvfp4_serve.render.exported import (
    Exported,
    common_warnings,
    image_of,
    option,
    refuse_secrets,
)

#: Flags that sparkrun itself looks at: it counts nodes by them, and asks the port.
_DEFAULTS: Final = {
    "--host": "host",
    "--port": "port",
    "--tensor-parallel-size": "tensor_parallel",
    "--pipeline-parallel-size": "pipeline_parallel",
    "--data-parallel-size": "data_parallel",
    "--gpu-memory-utilization": "gpu_memory_utilization",
    "--max-model-len": "max_model_len",
    "--served-model-name": "served_model_name",
}
#: What sparkrun reads otherwise than a shell: a placeholder, an escaped brace, and a
#: blank between a backslash and the end of a line, which it takes away.
_OTHERWISE: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_.]*\}|\{\{|\\[ \t]+(?=\n)")
#: Numbers that sparkrun prints as they stand here.
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,4}[1-9])?")


def export_sparkrun(plan: Plan, image: str | None) -> Exported:
    """Return a recipe for sparkrun that serves as the plan says.

    Raises:
        UsageError: There is no image, the plan holds a secret, or sparkrun would
            replace a part of a word.
    """
    refuse_secrets(plan)
    name = image_of(plan, image)
    words, defaults = _templated(plan)
    _refuse_what_sparkrun_changes(plan)
    data: dict[str, Any] = {
        "recipe_version": "2",
        "name": plan.served_model_name,
        "model": plan.argv[0],
    }
    if revision := option(plan, "--revision"):
        data["model_revision"] = revision
    data |= {
        "runtime": "vllm-distributed",
        "min_nodes": 1,
        "max_nodes": 1,
        "container": name,
        "metadata": {
            "description": f"{plan.served_model_name}, a plan of nvfp4-serve for "
            f"{plan.engine}, {plan.status}"
        },
        "defaults": defaults,
        "env": {key: _literal(value) for key, value in plan.env},
        "command": Block(_command(words)),
    }
    return Exported(render_yaml(data), (*common_warnings(plan, name), *_mounted(plan)))


def _templated(plan: Plan) -> tuple[list[str], dict[str, Any]]:
    """Return the words with placeholders in them, and what these stand for."""
    words: list[str] = []
    defaults: dict[str, Any] = {}
    flag = ""
    for word in plan.argv[1:]:
        key = _DEFAULTS.get(flag)
        if key is not None and shlex.quote(word) == word:
            defaults[key] = json.loads(word) if _NUMBER.fullmatch(word) else word
            words.append(f"{{{key}}}")
        else:
            words.append(shlex.quote(word))
        flag = word
    return words, defaults


def _refuse_what_sparkrun_changes(plan: Plan) -> None:
    for word in plan.argv:
        if found := _OTHERWISE.search(word):
            raise UsageError(
                f"sparkrun reads `{found.group()}` in `{word}` otherwise than vLLM.",
                fix="Export it as compose or argv; sparkrun cannot say it.",
            )


def _literal(value: str) -> str:
    """Return a variable's value; sparkrun replaces ``$NAME`` in it.

    Raises:
        UsageError: It holds a dollar, which sparkrun cannot keep.
    """
    if "$" in value:
        raise UsageError(
            f"sparkrun would replace what follows the dollar in `{value}`.",
            fix="Export it as compose or argv.",
        )
    return value


def _command(words: list[str]) -> str:
    lines = ["vllm serve {model}"]
    for word in words:
        if word.startswith("-"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines) + "\n"


def _mounted(plan: Plan) -> tuple[str, ...]:
    return tuple(
        f"sparkrun must find the model in `{mount.source}` on the machine itself."
        for mount in plan.mounts
    )
