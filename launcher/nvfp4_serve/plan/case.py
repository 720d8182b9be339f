"""What a row of the known-bad list is held against: all that is known. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan.flags import Spellings, flag_name, grouped_words


@dataclass(frozen=True, slots=True)
class Case:
    """What would run, on what, and how. What is None is not known.

    Attributes:
        layout: The checkpoint.
        host: The machine.
        gpus: Those that are used.
        flags: Of vLLM, by name; keys of those that take JSON stand behind a dot.
        env: The engine's environment.
        versions: Of ``vllm``, ``flashinfer``, ``nccl`` and ``cudnn``.
        image: The container image's reference.
        nodes: How many machines.
        model: The Hub id, where no layout says it.
        revision: Its commit, the same.
    """

    layout: Layout | None = None
    host: Host | None = None
    gpus: tuple[Gpu, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    nodes: int = 1
    model: str | None = None
    revision: str | None = None

    @property
    def models(self) -> frozenset[str]:
        """The Hub ids that the checkpoint may have.

        A folder's own name is no id: several owners have a model of the same name.
        """
        if self.layout is None:
            return frozenset({self.model} if self.model else ())
        if self.layout.folder is None:
            return frozenset({self.layout.model})
        parts = PurePath(self.layout.folder).parts
        cached = [part.split("--", 2)[1:] for part in parts if _is_cached(part)]
        names = {"/".join(owner_and_name) for owner_and_name in cached}
        return frozenset({"/".join(parts[-2:]), self.layout.model, *names})


def _is_cached(part: str) -> bool:
    return part.startswith("models--") and part.count("--") >= len(("owner", "name"))


def read_flags(words: tuple[str, ...], spellings: Spellings) -> dict[str, str]:
    """Return the value of every flag among ``words``; the last one counts.

    A switch is ``true``, its ``--no-`` form ``false``. Of a JSON object every value
    stands under its key: ``--speculative-config.method``.
    """
    flags: dict[str, str] = {}
    for first, *rest in grouped_words(words):
        head, equals, glued = first.partition("=")
        name = spellings.get(flag_name(head), flag_name(head))
        text = " ".join([glued, *rest] if equals else rest)
        _, dot, key = head.partition(".")
        if dot and head.startswith("--"):
            flags[f"{name}.{key}"] = text
        elif not text:
            flags[name] = "false" if flag_name(head).startswith("--no-") else "true"
        else:
            flags[name] = text
            flags.update(_keys(name, text))
    return flags


def _keys(name: str, text: str) -> Iterator[tuple[str, str]]:
    if not text.startswith("{"):
        return
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        return  # vLLM says so; here it means that nothing is known of it.
    yield from _flat(name, data)


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)
