"""A compose file -> the launch of the service that runs vLLM.

Source:
    The Compose Specification, 05-services.md: ``command``, ``entrypoint``,
    ``environment``, ``ports``, ``volumes``, ``deploy.resources.reservations.devices``.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.command import launch_of
from nvfp4_serve.recipe.foreign.docker_run import Container, take_variable
from nvfp4_serve.recipe.foreign.types import Launch, Machine, error, info, warning
from nvfp4_serve.recipe.foreign.words import Word, read_script
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

_CARRIED: Final = frozenset(
    {
        "image", "command", "entrypoint", "environment", "ports", "volumes",
        "network_mode", "deploy", "gpus", "runtime", "shm_size", "ipc", "restart",
        "container_name", "healthcheck", "ulimits", "env_file", "hostname", "networks",
        "depends_on", "logging", "labels", "stdin_open", "tty",
    }
)  # fmt: skip


def read_compose(source: ForeignYaml, label: str, target: Machine) -> Launch:
    """Return the way in which one service of a compose file starts vLLM.

    Raises:
        RecipeError: No service runs vLLM, or more than one does.
    """
    services = source.data["services"]
    if not isinstance(services, dict):
        raise RecipeError(
            f"{label}: `services` must be a mapping.", fix="Give a compose file."
        )
    chosen = [
        name
        for name, service in services.items()
        if isinstance(service, dict) and _runs_vllm(service)
    ]
    if len(chosen) != 1:
        raise RecipeError(
            f"{label}: {len(chosen)} services run vLLM; one was expected.",
            evidence=tuple(f"line {source.line('services', n)}: {n}" for n in services),
            fix="Leave one service in the file whose image or command names vLLM.",
        )
    name = chosen[0]
    container = _container(source, name, label)
    launch = launch_of(container, label)
    gpus = _gpus(services[name])
    machine = target
    if target.gpus is None and gpus is not None:
        machine = replace(target, gpus=gpus)
    return replace(
        launch,
        named=name,
        machine=machine,
        findings=(*launch.findings, *_left_out(source, name, label)),
    )


def _runs_vllm(service: dict[str, Any]) -> bool:
    told = (
        f"{service.get('image')} {service.get('command')} {service.get('entrypoint')}"
    )
    return "vllm" in told.lower()


def _container(source: ForeignYaml, name: str, label: str) -> Container:
    service = source.data["services"][name]
    found = Container()
    image = service.get("image")
    if isinstance(image, str):
        found.image = Word(image, source.line("services", name, "image"))
    found.words = list(_words(source, name, "command", label, found.findings))
    if service.get("entrypoint") is not None:
        found.entrypoint = tuple(
            _words(source, name, "entrypoint", label, found.findings)
        )
    for word in _environment(source, name):
        take_variable(found, word, label)
    if service.get("env_file"):
        found.findings.append(
            warning(
                "variables-not-read",
                f"{label}:{source.line('services', name, 'env_file')}: the variables "
                f"of `{service['env_file']}` are not here.",
                "Add those that the engine needs to the recipe; no secrets.",
            )
        )
    found.published += _ports(service.get("ports"))
    found.is_host_network = service.get("network_mode") == "host"
    return found


def _words(
    source: ForeignYaml, name: str, key: str, label: str, findings: list[Finding]
) -> Iterator[Word]:
    """Yield the words of a list, or of a text that compose splits like a shell.

    In a text, a newline is a blank: the flags below a backslash and an empty line are
    not lost here. Compose replaces ``$NAME`` itself; ``$$`` is a dollar.
    """
    value = source.data["services"][name].get(key)
    line = source.line("services", name, key)
    if isinstance(value, list):
        for index, item in enumerate(value):
            at = source.line("services", name, key, index)
            yield _interpolated(str(item), at)
    elif isinstance(value, str):
        for command in read_script("\n" * (line - 1) + _one_command(value)).commands:
            for word in command.words:
                yield _interpolated(word.text, word.line)
            if command.end not in {"", "\n"}:
                findings.append(
                    error(
                        "no-shell-here",
                        f"{label}:{command.end_line}: `{command.end}` means nothing in "
                        f"the `{key}` of a compose file: no shell reads it.",
                        "Write `bash -c` in front, or leave it out.",
                    )
                )


def _one_command(text: str) -> str:
    """Return ``text`` with its newlines continued, so that they are blanks."""
    lines = text.rstrip().splitlines()
    return "\\\n".join(f"{line.rstrip().removesuffix(chr(92))} " for line in lines)


def _interpolated(text: str, line: int) -> Word:
    plain = text.replace("$$", "\0")
    found = tuple(part for part in _dollars(plain))
    return Word(plain.replace("\0", "$"), line, found)


def _dollars(text: str) -> Iterator[str]:
    at = text.find("$")
    while at >= 0:
        end = text.find("}", at) + 1 if text[at + 1 : at + 2] == "{" else at + 1
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        yield text[at : max(end, at + 1)]
        at = text.find("$", max(end, at + 1))


def _environment(source: ForeignYaml, name: str) -> Iterator[Word]:
    value = source.data["services"][name].get("environment")
    path = ("services", name, "environment")
    if isinstance(value, dict):
        for key, told in value.items():
            line = source.line(*path, key)
            if told is None:
                yield Word(key, line)
            else:
                yield _interpolated(f"{key}={_shown(told)}", line)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield _interpolated(str(item), source.line(*path, index))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ports(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            address = f"{item.get('host_ip')}:" if item.get("host_ip") else ""
            yield f"{address}{item.get('published')}:{item.get('target')}"
        else:
            yield str(item)


def _gpus(service: dict[str, Any]) -> int | None:
    """Return how many GPUs a service reserves, or None: all, or it does not say."""
    found: Any = service.get("deploy")
    for key in ("resources", "reservations", "devices"):
        found = found.get(key) if isinstance(found, dict) else None
    for device in found if isinstance(found, list) else []:
        if not isinstance(device, dict):
            continue
        ids = device.get("device_ids")
        if isinstance(ids, list):
            return len(ids)
        count = device.get("count")
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return count
    return None


def _left_out(source: ForeignYaml, name: str, label: str) -> Iterator[Finding]:
    left = [key for key in source.data["services"][name] if key not in _CARRIED]
    if left:
        yield info(
            "container-options-left-out",
            f"{label}:{source.line('services', name)}: these keys of the service are "
            f"not carried over: {', '.join(left)}.",
            "Nothing, unless the engine needs one of them.",
        )
    others = [other for other in source.data["services"] if other != name]
    if others:
        yield info(
            "services-not-read",
            f"{label}: these services are not read: {', '.join(others)}.",
            "They are not vLLM.",
        )
