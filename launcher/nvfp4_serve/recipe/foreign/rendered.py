"""A command that vllm-project/recipes has rendered, as JSON -> a launch.

Source:
    vllm-project/recipes, ``scripts/build-recipes-api.mjs``, 2026-08-21: the keys of a
    rendered command; vLLM's ``tools/recipes`` reads the same files.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.foreign.command import read_command
from nvfp4_serve.recipe.foreign.hardware import PROFILES
from nvfp4_serve.recipe.foreign.types import Launch, Machine, Setting
from nvfp4_serve.recipe.foreign.words import Word

_ARGVS: Final = ("argv", "head_argv", "vllm_argv")


def is_rendered(data: object) -> bool:
    """True for a rendered command, and for a page of a model that holds one."""
    return isinstance(data, dict) and _command(data) is not None


def read_rendered(data: dict[str, Any], label: str, target: Machine) -> Launch:
    """Return the way in which a rendered command starts vLLM.

    Raises:
        RecipeError: Its argv starts no vLLM, or its machine is not known here.
    """
    command = _command(data)
    assert command is not None  # noqa: S101 - `is_rendered` says so
    argv = next(command[key] for key in _ARGVS if key in command)
    if not isinstance(argv, list) or not all(isinstance(item, str) for item in argv):
        raise RecipeError(
            f"{label}: `argv` is no list of texts.", fix="Render it again."
        )
    launch = words_launch(argv, label)
    return replace(
        launch,
        words=tuple(map(_with_dollars, launch.words)),
        environment=tuple(_environment(command, label)),
        image=_text(command, "docker_image") or _text(command, "image"),
        model=_text(data, "hf_id") or _text(data, "model"),
        machine=_machine(command, label, target),
    )


def words_launch(argv: list[str], label: str) -> Launch:
    """Return the launch of a list of words; no shell has a say in them.

    Raises:
        RecipeError: They start no vLLM.
    """
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in argv)
    launch = read_command(quoted, label)
    return replace(launch, words=tuple(Word(word.text, 1) for word in launch.words))


def _with_dollars(word: Word) -> Word:
    """Keep in mind that a placeholder such as ``$HEAD_IP`` is the reader's to fill."""
    names = tuple(
        part
        for part in word.text.split()
        if part.startswith("$") and part[1:2].isalpha()
    )
    return replace(word, expansions=names)


def _command(data: dict[str, Any]) -> dict[str, Any] | None:
    for candidate in (data, data.get("recommended_command"), data.get("recommended")):
        if isinstance(candidate, dict) and any(key in candidate for key in _ARGVS):
            return candidate
    return None


def _environment(command: dict[str, Any], label: str) -> Iterator[Setting]:
    env = command.get("env") or {}
    if not isinstance(env, dict):
        raise RecipeError(f"{label}: `env` is no mapping.", fix="Render it again.")
    for name, value in env.items():
        yield Setting(str(name), str(value), 1)


def _machine(command: dict[str, Any], label: str, target: Machine) -> Machine:
    if target.gpus is not None:
        return target
    name = _text(command, "hardware") or _text(command, "hw")
    nodes = command.get("node_count", command.get("nodes", 1))
    count = nodes if isinstance(nodes, int) and nodes > 0 else 1
    if name is None:
        return replace(target, nodes=count)
    if name not in PROFILES:
        raise RecipeError(
            f"{label}: it is for `{name}`, which is no NVIDIA GPU that is known here.",
            fix=f"Give `--gpu CCxN`, or a command for {', '.join(PROFILES)}.",
        )
    return replace(PROFILES[name].machine, nodes=count)


def _text(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) and value else None
