"""A pasted command, or a small script, -> the one way it starts vLLM."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.docker_run import Container, read_docker_run
from nvfp4_serve.recipe.foreign.lines import script_of, without_lost
from nvfp4_serve.recipe.foreign.types import Launch, Setting, info, warning
from nvfp4_serve.recipe.foreign.variables import expand
from nvfp4_serve.recipe.foreign.words import Command, Script, Word

#: Words in front of a program that change nothing of what it is told.
_WRAPPERS: Final = frozenset({"sudo", "exec", "nohup", "time", "command", "env"})
_SHELLS: Final = frozenset({"bash", "sh", "dash", "zsh"})
_ENGINES: Final = frozenset({"docker", "podman", "nerdctl"})
_SERVERS: Final = frozenset(
    {"vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main"}
)
#: Programs that serve a model and are not vLLM.
_OTHERS: Final = {
    "sglang": "SGLang",
    "sglang.launch_server": "SGLang",
    "trtllm-serve": "TensorRT-LLM",
    "llama-server": "llama.cpp",
    "lmdeploy": "LMDeploy",
    "ollama": "Ollama",
    "text-generation-launcher": "TGI",
}
_DEEPEST: Final = 4


@dataclass(slots=True)
class _Found:
    """What was found on the way to the server."""

    label: str
    words: tuple[Word, ...] | None = None
    container: Container | None = None
    environment: list[Setting] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    more: int = 0


def read_command(text: str, label: str, first_line: int = 1) -> Launch:
    """Return the way in which ``text`` starts vLLM.

    Args:
        text: Shell text; nothing of it is run.
        label: The file, for messages.
        first_line: The line of the file where the text begins.

    Raises:
        RecipeError: It starts no vLLM, or another server.
    """
    found = _Found(label)
    _read(found, script_of(text, first_line), depth=0)
    if found.words is None:
        raise RecipeError(
            f"{label} starts no vLLM: there is no `vllm serve`, no `python -m "
            "vllm.entrypoints.openai.api_server`, and no `docker run` of either.",
            fix="Give the whole command, from its first word on.",
            evidence=tuple(found.unread[:5]),
        )
    return _launch(found)


def launch_of(container: Container, label: str) -> Launch:
    """Return the way in which a container starts vLLM.

    Raises:
        RecipeError: It starts no vLLM, or another server.
    """
    found = _Found(label, container=container)
    _simple(found, Command(container.command, "", 1), depth=0)
    if found.words is None:
        raise RecipeError(
            f"{label}: the container starts no vLLM.",
            fix="Give a service whose command is `vllm serve ...`.",
        )
    return _launch(found)


def _launch(found: _Found) -> Launch:
    container = found.container or Container()
    findings = [*found.findings, *container.findings]
    if found.more:
        findings.append(
            warning(
                "more-than-one-server",
                f"{found.label}: it starts vLLM {found.more + 1} times; only the first "
                "was read.",
                "Import each of them by itself.",
            )
        )
    if found.unread:
        findings.append(
            info(
                "commands-not-run",
                f"{found.label}: these commands were neither run nor carried over: "
                f"{', '.join(dict.fromkeys(found.unread))}.",
                "Do what they do by hand, if the engine needs it.",
            )
        )
    inside = found.environment if found.container is None else []
    return Launch(
        words=found.words or (),
        environment=(*inside, *container.environment, *_nested(found)),
        image=container.image.text if container.image else None,
        image_line=container.image.line if container.image else 1,
        mounts=tuple(container.mounts),
        is_published=found.container is not None and not container.is_host_network,
        findings=(*findings, *_reachable(found)),
    )


def _nested(found: _Found) -> tuple[Setting, ...]:
    """Return what is set inside of the container, in front of the server."""
    return tuple(found.environment) if found.container is not None else ()


def _read(found: _Found, script: Script, depth: int) -> None:
    if depth > _DEEPEST:
        raise RecipeError(
            f"{found.label}: shells are nested deeper than {_DEEPEST} levels.",
            fix="Give the innermost command.",
        )
    commands = script.commands
    for index, raw in enumerate(commands):
        if raw.words[0].text.startswith("-"):
            continue
        had = found.words is not None
        _simple(found, expand(raw, found.variables), depth)
        if found.words is not None and not had:
            found.words, lost = without_lost(found.words, commands[index:], found.label)
            found.findings += lost


def _simple(found: _Found, command: Command, depth: int) -> None:
    """Look at one simple command."""
    words = _after_assignments(found, command)
    if not words:
        return
    program = PurePosixPath(words[0].text).name
    if program == "export":
        _export(found, words[1:])
    elif program in _ENGINES:
        _container(found, words, depth)
    elif program in _SHELLS:
        _shell(found, words, depth)
    elif (server := _server_words(words)) is not None:
        if found.words is not None:
            found.more += 1
        else:
            found.words = server
    else:
        _refuse_other(found, words)
        found.unread.append(f"`{' '.join(word.text for word in words[:3])}`")


def _after_assignments(found: _Found, command: Command) -> tuple[Word, ...]:
    """Return the words from the program on; note what is assigned in front of it."""
    words = list(command.words)
    assigned: list[Setting] = []
    while words:
        name, equals, value = words[0].text.partition("=")
        if equals and name.isidentifier():
            _assign(found, assigned, Setting(name, value, words[0].line), words[0])
        elif words[0].text not in _WRAPPERS:
            break
        words.pop(0)
    if words:
        found.environment += assigned
    else:
        found.variables |= {item.name: item.value for item in assigned}
    return tuple(words)


def _assign(
    found: _Found, assigned: list[Setting], setting: Setting, word: Word
) -> None:
    if word.expansions:
        found.findings.append(
            warning(
                "variable-of-the-shell",
                f"{found.label}:{word.line}: `{setting.name}` is "
                f"{', '.join(word.expansions)}, which only a shell knows.",
                "Set it by hand, if the engine needs it.",
            )
        )
    else:
        assigned.append(setting)


def _export(found: _Found, words: tuple[Word, ...]) -> None:
    for word in words:
        name, equals, value = word.text.partition("=")
        held: list[Setting] = []
        if equals:
            _assign(found, held, Setting(name, value, word.line), word)
        elif name in found.variables:
            held.append(Setting(name, found.variables[name], word.line))
        found.environment += held
        found.variables |= {item.name: item.value for item in held}


def _container(found: _Found, words: tuple[Word, ...], depth: int) -> None:
    verbs = [word.text for word in words[1:3]]
    start = 2 if verbs[:1] in (["run"], ["create"]) else 0
    start = 3 if verbs == ["container", "run"] else start
    if not start:
        found.unread.append(f"`{' '.join(word.text for word in words[:3])}`")
        return
    if found.words is not None:
        found.more += 1
        return
    container = read_docker_run(words[start:], found.label)
    # What the shell was told does not reach into a container.
    found.environment.clear()
    found.container = container
    _simple(found, Command(container.command, "", words[0].line), depth + 1)


def _shell(found: _Found, words: tuple[Word, ...], depth: int) -> None:
    for index, word in enumerate(words[1:], start=1):
        if word.text.startswith("-") and word.text.endswith("c"):
            if index + 1 < len(words):
                inner = words[index + 1]
                _read(found, script_of(inner.text, inner.line), depth + 1)
            return
    found.unread.append(f"`{' '.join(word.text for word in words[:3])}`")


def _server_words(words: tuple[Word, ...]) -> tuple[Word, ...] | None:
    """Return what follows ``vllm serve``, or None: it is another program."""
    texts = [word.text for word in words[:4]]
    program = PurePosixPath(texts[0]).name
    if program == "vllm":
        return words[2:] if texts[1:2] == ["serve"] else None
    if program.startswith("python") and "-m" in texts:
        at = texts.index("-m")
        if texts[at + 1 : at + 2] and texts[at + 1] in _SERVERS:
            rest = words[at + 2 :]
            is_serve = bool(rest) and rest[0].text == "serve"
            return rest[1:] if is_serve else rest
    return None


def _refuse_other(found: _Found, words: tuple[Word, ...]) -> None:
    names = [PurePosixPath(word.text).name for word in words[:4]]
    other = next((_OTHERS[name] for name in names if name in _OTHERS), None)
    if other is not None and found.words is None:
        raise RecipeError(
            f"{found.label}:{words[0].line}: this starts {other}, not vLLM.",
            fix="Only recipes for vLLM can be read; its flags mean nothing to another.",
        )


def _reachable(found: _Found) -> tuple[Finding, ...]:
    """Say that a container's port is published for everyone."""
    container = found.container
    if container is None or container.is_host_network:
        return ()
    public = [
        port
        for port in container.published
        if port.count(":") < 2 or port.startswith(("0.0.0.0:", "[::]:"))
    ]
    texts = {word.text.partition("=")[0] for word in found.words or ()}
    if not public or "--api-key" in texts:
        return ()
    return (
        warning(
            "public-bind",
            f"{found.label}: port `{public[0]}` is published on every address of the "
            "machine, and no key is asked for.",
            "Publish it as `127.0.0.1:8000:8000`; the recipe leaves the address out.",
        ),
    )
