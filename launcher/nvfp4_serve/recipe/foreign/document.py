"""What was imported -> a recipe file of ours. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.arguments import Argument, Value
from nvfp4_serve.recipe.foreign.check_around import COMMIT
from nvfp4_serve.recipe.foreign.types import Launch, Machine, Setting
from nvfp4_serve.recipe.types import SCHEMA
from nvfp4_serve.recipe.yaml_text import Inside, render_yaml

#: A number that every reader writes back as it stands.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{0,6}[1-9])?")
#: Findings of things that stay in the recipe and do not work.
_BLOCKING: Final = ("mega-moe-with-nvfp4", "fp4-indexer-cache", "key-not-taken")
_PARALLEL: Final = (
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--data-parallel-size",
)


@dataclass(frozen=True, slots=True)
class Imported:
    """A foreign recipe in our words.

    Attributes:
        form: What it was: ``sparkrun``, ``eugr``, ``vllm-recipes``, ``compose``,
            ``command``.
        label: The file it came from.
        model: The model's id.
        launch: What was read, for what a recipe has no place for: the image.
        arguments: The flags of the recipe.
        environment: The variables of the recipe.
        findings: What is wrong with it, and what was left out.
    """

    form: str
    label: str
    model: str
    launch: Launch
    arguments: tuple[Argument, ...]
    environment: tuple[Setting, ...]
    findings: tuple[Finding, ...]


def recipe_text(imported: Imported) -> str:
    """Return the recipe file, as text that `recipe.load` reads."""
    return render_yaml(recipe_data(imported))


def recipe_data(imported: Imported) -> dict[str, Any]:
    """Return the recipe file as data, its keys in the order of the page."""
    revision = imported.launch.revision
    is_commit = revision is not None and COMMIT.fullmatch(revision)
    source = f"{imported.label}, imported ({imported.form})"
    return {
        "schema": SCHEMA,
        "id": _slug(imported.model.rpartition("/")[2]) or "imported",
        "model": {
            "id": imported.model,
            "revision": revision if is_commit else None,
            "source": source,
        },
        "status": "imported",
        "variants": [_variant(imported)],
    }


def _variant(imported: Imported) -> dict[str, Any]:
    machine = machine_of(imported)
    stopped = [
        finding.message
        for finding in imported.findings
        if finding.severity == "error" and finding.id in _BLOCKING
    ]
    variant: dict[str, Any] = {
        "id": _variant_id(machine),
        "when": _when(machine, imported.launch.least_vllm),
        "args": {
            item.name: _row(_value(item.value), imported, item)
            for item in imported.arguments
        },
        "env": {
            item.name: _row(item.value, imported, item) for item in imported.environment
        },
        "notes": _notes(imported),
    }
    if stopped:
        variant["blocked"] = " ".join(stopped)
    return variant


def _row(value: object, imported: Imported, item: Argument | Setting) -> dict[str, Any]:
    why = "As in the imported recipe."
    if isinstance(item, Argument) and item.spelt.lstrip("-") != item.name.lstrip("-"):
        why = f"As in the imported recipe, which writes `{item.spelt}`."
    return {"value": value, "why": why, "source": f"{imported.label}:{item.line}"}


def _value(value: Value) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return Inside(value)
    if isinstance(value, list):
        return [_value(item) for item in value]
    return json.loads(value) if _NUMBER.fullmatch(value) else value


def machine_of(imported: Imported) -> Machine:
    """Return the machine, its GPUs counted where nobody said how many there are."""
    machine = imported.launch.machine
    if machine.gpus is not None:
        return machine
    sizes = {item.name: item.value for item in imported.arguments}
    gpus = 1
    for name in _PARALLEL:
        value = sizes.get(name)
        gpus *= int(value) if isinstance(value, str) and value.isdigit() else 1
    per_node = max(1, -(-gpus // max(1, machine.nodes)))
    return Machine(machine.name, machine.compute_capability, per_node, machine.nodes)


def _when(machine: Machine, least_vllm: str | None) -> dict[str, Any]:
    when: dict[str, Any] = {}
    if machine.compute_capability is not None:
        when["compute_capability"] = [machine.compute_capability]
    when["gpus"] = f">={machine.gpus}"
    when["nodes"] = machine.nodes
    if least_vllm is not None:
        when["vllm"] = f">={least_vllm}"
    return when


def _variant_id(machine: Machine) -> str:
    capability = machine.compute_capability
    kind = machine.name or (f"sm{capability.replace('.', '')}" if capability else "gpu")
    nodes = f"-{machine.nodes}-nodes" if machine.nodes > 1 else ""
    return f"{_slug(kind)}x{machine.gpus}{nodes}"


def _notes(imported: Imported) -> list[str]:
    notes = ["It was translated from another format; nobody has run it as it is here."]
    if imported.launch.image is not None:
        notes.append(f"The source runs it in the image {imported.launch.image}.")
    return notes


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def variables(environment: tuple[Setting, ...]) -> Mapping[str, str]:
    """Return the variables by name."""
    return {item.name: item.value for item in environment}
