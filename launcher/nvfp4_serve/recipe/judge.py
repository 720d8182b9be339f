"""Recipes held against a checkpoint and a machine, condition by condition. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.recipe.types import Reason, Recipe, Verdict
from nvfp4_serve.recipe.when import explain
from nvfp4_serve.resources import VLLM_VERSION

#: A model's folder in the Hub's cache. huggingface_hub, file_download.py,
#: repo_folder_name; an owner's name never holds two hyphens.
_CACHED: Final = re.compile(r"models--(.+?)--(.+)")


@dataclass(frozen=True, slots=True)
class Names:
    """What a checkpoint is called.

    Attributes:
        hub: ``owner/name``, where it is of the Hub or of its cache.
        folder: The folder's own name, where it is any other folder.
    """

    hub: str | None
    folder: str | None

    @property
    def text(self) -> str:
        """The name for people."""
        return self.hub or self.folder or "none"

    @property
    def last(self) -> str:
        """The last part of the name; every recipe of the checkpoint ends in it."""
        return self.text.rpartition("/")[2]

    def are(self, model_id: str) -> bool:
        """Return whether a checkpoint so called may be the Hub's ``model_id``."""
        theirs = model_id.casefold()
        if self.hub is not None:
            return self.hub.casefold() == theirs
        return (self.folder or "").casefold() == theirs.rpartition("/")[2]


def names_of(layout: Layout) -> Names:
    """Return what the checkpoint of ``layout`` is called."""
    if layout.folder is None or layout.revision is not None:
        return Names(layout.model, None)
    path = PurePath(layout.folder)
    for part in path.parts:
        if cached := _CACHED.fullmatch(part):
            return Names(f"{cached[1]}/{cached[2]}", None)
    return Names(None, path.name)


def judge(
    recipes: Iterable[Recipe], layout: Layout | None, host: Host, *, nodes: int = 1
) -> tuple[Verdict, ...]:
    """Return a verdict on every recipe, with every reason.

    Args:
        recipes: The recipes.
        layout: The checkpoint; None: judge the machine alone.
        host: The machine.
        nodes: How many such machines there are.
    """
    kinds = kinds_of(host)
    tried = tuple(recipes)
    names = _names_among(tried, layout)
    return tuple(
        _judge(recipe, _of_model(recipe, layout, names), host, kinds, nodes)
        for recipe in tried
    )


def _names_among(recipes: tuple[Recipe, ...], layout: Layout | None) -> Names:
    """Return what the checkpoint is called; of a folder `OWNER/NAME`, both.

    A folder's parent may be anything. It is the owner where a recipe says that there is
    such a model.
    """
    names = Names(None, None) if layout is None else names_of(layout)
    if layout is None or names.folder is None or layout.folder is None:
        return names
    path = PurePath(layout.folder)
    whole = f"{path.parent.name}/{path.name}".casefold()
    owned = (r.model_id for r in recipes if r.model_id.casefold() == whole)
    hub = next(owned, None)
    return names if hub is None else Names(hub, None)


def kinds_of(host: Host) -> tuple[tuple[Gpu, ...], ...]:
    """Return the GPUs that can be used together, the most memory first.

    They have the same capability and memory. A process can use one MIG instance, so
    each is a kind of its own. A machine without GPUs has one empty kind.
    """
    kinds: dict[tuple[object, ...], list[Gpu]] = {}
    for gpu in host.gpus:
        instance = gpu.uuid if gpu.mig_parent else None
        kind = (gpu.compute_capability, gpu.memory_total, gpu.integrated, instance)
        kinds.setdefault(kind, []).append(gpu)
    if not kinds:
        return ((),)
    ordered = sorted(kinds.values(), key=lambda like: -_memory(like))
    return tuple(map(tuple, ordered))


def _memory(gpus: list[Gpu]) -> int:
    return sum(gpu.memory_total or 0 for gpu in gpus)


def _judge(
    recipe: Recipe,
    of_model: Iterable[Reason],
    host: Host,
    kinds: tuple[tuple[Gpu, ...], ...],
    nodes: int,
) -> Verdict:
    tried = [
        (explain(recipe.when, host, gpus, nodes=nodes, vllm=VLLM_VERSION), gpus)
        for gpus in kinds
    ]
    # Of several kinds, the one that the fewest conditions are against.
    on_host, gpus = min(tried, key=lambda one: sum(not reason.ok for reason in one[0]))
    blocked = (
        ()
        if recipe.blocked is None
        else (Reason(False, "blocked", "", recipe.blocked),)
    )
    return Verdict(recipe, (*of_model, *on_host, *blocked), gpus)


def _of_model(recipe: Recipe, layout: Layout | None, names: Names) -> Iterator[Reason]:
    if layout is None:
        return
    yield Reason(names.are(recipe.model_id), "model", recipe.model_id, names.text)
    expect = recipe.expect
    if expect.layouts:
        wanted = ", ".join(expect.layouts)
        holds = layout.layout in expect.layouts
        yield Reason(holds, "expect.layouts", wanted, layout.layout)
    if expect.architectures:
        wanted = ", ".join(expect.architectures)
        found = layout.architecture or "none"
        holds = layout.architecture in expect.architectures
        yield Reason(holds, "expect.architecture", wanted, found)
    for name, wanted in expect.schemes.items():
        found = layout.schemes.get(name, "none")
        holds = set(found.split("+")) == set(wanted.split("+"))
        yield Reason(holds, f"expect.schemes.{name}", wanted, found)
