"""``docker run ...`` -> image, variables, folders and what the container runs."""

from dataclasses import dataclass, field
from typing import Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.types import Setting, info, warning
from nvfp4_serve.recipe.foreign.words import Word

#: Options of `docker run` that take no value. Docker 28.5, `docker run --help`.
_SWITCHES: Final = frozenset(
    {
        "--detach", "--disable-content-trust", "--help", "--init", "--interactive",
        "--no-healthcheck", "--oom-kill-disable", "--privileged", "--publish-all",
        "--quiet", "--read-only", "--replace", "--rm", "--sig-proxy", "--tty",
        "--use-api-socket",
    }
)  # fmt: skip
_SHORT_SWITCHES: Final = frozenset("dPqit")
_SHORT: Final = {"-e": "--env", "-v": "--volume", "-p": "--publish"}
#: What this launcher decides by itself, so that nothing is lost with them.
_OURS: Final = frozenset(
    {
        "--detach", "--gpus", "--interactive", "--ipc", "--name", "--net", "--network",
        "--publish", "--restart", "--rm", "--runtime", "--shm-size", "--tty",
        "--ulimit", "--pull", "--device", "--init", "--hostname", "-h",
    }
)  # fmt: skip
_SERVE: Final = (Word("vllm", 0), Word("serve", 0))


@dataclass(slots=True)
class Container:
    """What a ``docker run`` line, or a compose service, asks for.

    Attributes:
        published: Addresses that the port is published on, as they are written.
        entrypoint: What is run in front of the command, or None: the image's own.
    """

    image: Word | None = None
    words: list[Word] = field(default_factory=list)
    environment: list[Setting] = field(default_factory=list)
    mounts: list[tuple[str, str]] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    entrypoint: tuple[Word, ...] | None = None
    is_host_network: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def command(self) -> tuple[Word, ...]:
        """What the container runs, as far as the image's name says it.

        ``vllm/vllm-openai`` has the entrypoint ``vllm serve``; of another image that
        is not told a program, the same is taken.
        """
        words = tuple(self.words)
        if self.entrypoint is not None:
            return (*self.entrypoint, *words)
        if words and not words[0].text.startswith("-") and _is_program(words[0].text):
            return words
        return (*_SERVE, *words)


def _is_program(text: str) -> bool:
    name = text.rpartition("/")[2]
    return name in {"vllm", "bash", "sh", "env"} or name.startswith("python")


def read_docker_run(words: tuple[Word, ...], label: str) -> Container:
    """Return what the words after ``docker run`` ask for."""
    found = Container()
    left: list[str] = []
    rest = list(words)
    while rest and rest[0].text.startswith("-") and rest[0].text != "-":
        name, value = _option(rest)
        if not _take(found, name, value, label) and name not in _OURS:
            left.append(name)
    if rest:
        found.image = rest.pop(0)
    found.words = rest
    if left:
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(left))
        found.findings.append(
            info(
                "container-options-left-out",
                f"{label}: these options of `docker run` are left out: {names}.",
                "Nothing, unless the engine needs one of them.",
            )
        )
    return found


def _option(rest: list[Word]) -> tuple[str, Word | None]:
    """Take the next option and its value away from ``rest``."""
    word = rest.pop(0)
    text = word.text
    if not text.startswith("--"):
        if set(text[1:]) <= _SHORT_SWITCHES:
            return text, None
        name, attached = text[:2], text[2:].removeprefix("=")
        name = _SHORT.get(name, name)
        if attached:
            return name, Word(attached, word.line, word.expansions)
    else:
        name, equals, attached = text.partition("=")
        if equals:
            return name, Word(attached, word.line, word.expansions)
        if name in _SWITCHES:
            return name, None
    return name, rest.pop(0) if rest else None


def _take(found: Container, name: str, value: Word | None, label: str) -> bool:
    """Note an option that says something; False for one that is left out."""
    if value is None:
        return name.lstrip("-") != "privileged" and set(name[1:]) <= _SHORT_SWITCHES
    if name == "--env":
        take_variable(found, value, label)
    elif name in {"--volume", "--mount"}:
        if mount := _mount(value.text):
            found.mounts.append(mount)
    elif name == "--publish":
        found.published.append(value.text)
    elif name in {"--network", "--net"}:
        found.is_host_network = value.text == "host"
    elif name == "--entrypoint":
        found.entrypoint = (value,) if value.text else ()
    elif name == "--env-file":
        found.findings.append(
            warning(
                "variables-not-read",
                f"{label}:{value.line}: the variables of `{value.text}` are not here.",
                "Add those that the engine needs to the recipe; no secrets.",
            )
        )
    else:
        return False
    return True


def take_variable(found: Container, word: Word, label: str) -> None:
    """Note ``NAME=value``; ``NAME`` alone is handed through from the shell."""
    name, equals, value = word.text.partition("=")
    if equals and not word.expansions:
        found.environment.append(Setting(name, value, word.line))
        return
    found.findings.append(
        info(
            "variable-of-the-shell",
            f"{label}:{word.line}: `{name}` is taken from the shell; its value is not "
            "in the text.",
            "Set it where the engine is started, if it needs it.",
        )
    )


def _mount(text: str) -> tuple[str, str] | None:
    if "target=" in text or "dst=" in text or "destination=" in text:
        pairs = dict(part.partition("=")[::2] for part in text.split(","))
        source = pairs.get("source", pairs.get("src", ""))
        target = next(
            (pairs[key] for key in ("target", "dst", "destination") if key in pairs), ""
        )
    else:
        source, _, rest = text.partition(":")
        target = rest.partition(":")[0]
    return (source, target) if source and target else None
