"""eugr's recipes for spark-vllm-docker, version 1 -> a launch.

Source:
    eugr/spark-vllm-docker, ``run-recipe.py`` of April 2026: the fields, ``str.format``,
    and that the command is run by bash.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.command import read_command
from nvfp4_serve.recipe.foreign.fields import (
    list_field,
    mapping_field,
    not_run,
    settings,
    text_field,
    unread,
)
from nvfp4_serve.recipe.foreign.template import fill, missing_values
from nvfp4_serve.recipe.foreign.types import Launch, Machine, warning
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

_READ: Final = frozenset(
    {
        "recipe_version", "name", "description", "model", "container", "build_args",
        "cluster_only", "solo_only", "mods", "defaults", "env", "command",
    }
)  # fmt: skip


def read_eugr(source: ForeignYaml, label: str, target: Machine) -> Launch:
    """Return the way in which a recipe of eugr's starts vLLM.

    Raises:
        RecipeError: It is for another server, or a field is of a wrong kind.
    """
    defaults = mapping_field(source, "defaults", label)
    template = text_field(source, "command", label) or ""
    filled, missing = fill(template, defaults, doubled=True)
    line = source.line("command")
    launch = read_command(filled, label, line)
    variables = mapping_field(source, "env", label)
    return replace(
        launch,
        environment=(*settings(source, variables, "env"), *launch.environment),
        image=text_field(source, "container", label),
        image_line=source.line("container"),
        model=text_field(source, "model", label),
        named=text_field(source, "name", label),
        machine=_machine(source, defaults, target),
        findings=(
            *launch.findings,
            *missing_values(template, missing, line, label),
            *not_run(source, ("mods",), label),
            *_built(source, label),
            *unread(source, _READ, label),
        ),
    )


def _machine(
    source: ForeignYaml, defaults: dict[str, object], target: Machine
) -> Machine:
    """Return the DGX Sparks that it is for; each is one GB10."""
    if target.gpus is not None:
        return target
    nodes = 1
    for key in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
        size = defaults.get(key)
        nodes *= size if isinstance(size, int) and size > 0 else 1
    if source.data.get("solo_only") is True:
        nodes = 1
    elif source.data.get("cluster_only") is True:
        nodes = max(nodes, 2)
    return Machine("gb10", target.compute_capability or "12.1", 1, nodes)


def _built(source: ForeignYaml, label: str) -> Iterator[Finding]:
    arguments = [str(item) for item in list_field(source, "build_args", label)]
    if arguments:
        yield warning(
            "image-built-specially",
            f"{label}:{source.line('build_args')}: the image is built with "
            f"`{' '.join(arguments)}`; ours is not.",
            "Look at what they change; the recipe may need it.",
        )
