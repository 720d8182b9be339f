"""What is wrong with a recipe beyond its form: flags, values, machines. Pure.

`load` refuses what can never be a recipe; this finds what can, and would not work.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from nvfp4_serve.checkpoint.layout_ids import LAYOUT_IDS
from nvfp4_serve.checkpoint.modules import CLASSES
from nvfp4_serve.errors import RecipeError
from nvfp4_serve.host.types import Host
from nvfp4_serve.recipe.choose import choose
from nvfp4_serve.recipe.environment import Variables, check_environment
from nvfp4_serve.recipe.flags import Flag
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.schema import ArgRow, Base, File, Variant
from nvfp4_serve.recipe.strict import Fault, Path_, did_you_mean
from nvfp4_serve.recipe.types import Recipe

#: The words of `checkpoint.layout` and of tensors that are not quantized.
_SCHEMES: Final = frozenset(
    {"NVFP4", "W4A16_NVFP4", "FP8", "FP8_BLOCK", "MXFP4", "MXFP8", "INT8", "INT4"}
    | {"BF16", "F16", "F32", "NVFP4_AWQ", "unknown"}
)
#: Numbers of machines that a condition is tried on.
_NODES: Final = (1, 2, 4, 8)


def lint_file(
    file: File, flags: Mapping[str, Flag], variables: Variables
) -> Iterator[Fault]:
    """Yield what is wrong with the words of a file.

    Args:
        file: The file.
        flags: The flags of the pinned engine, by name.
        variables: The environment variables that it reads.
    """
    for name in file.expect.layouts:
        if name not in LAYOUT_IDS:
            near = did_you_mean(name, LAYOUT_IDS)
            yield ("expect", "layouts"), f"no layout is called {name!r}{near}"
    yield from _schemes(file.expect.schemes)
    yield from _rows(("base",), file.base, flags)
    yield from _variables(("base",), file.base, variables)
    for index, variant in enumerate(file.variants):
        here: Path_ = ("variants", index)
        yield from _rows(here, variant, flags)
        yield from _variables(here, variant, variables)
        for key in ("log_must", "log_must_not"):
            for text in getattr(variant.expect, key):
                if said := _no_pattern(text):
                    yield (*here, "expect", key), f"{text!r} is no pattern: {said}"


def _schemes(schemes: Mapping[str, str]) -> Iterator[Fault]:
    for name, words in schemes.items():
        here: Path_ = ("expect", "schemes", name)
        if name not in CLASSES:
            yield here, f"no class of modules{did_you_mean(name, CLASSES)}"
        for word in words.split("+"):
            if word not in _SCHEMES:
                near = did_you_mean(word, _SCHEMES)
                yield here, f"no scheme is called {word!r}{near}"


def _no_pattern(text: str) -> str | None:
    try:
        re.compile(text)
    except re.error as error:
        return str(error)
    return None


def _rows(
    here: Path_, rows: Base | Variant, flags: Mapping[str, Flag]
) -> Iterator[Fault]:
    for name, row in rows.args.items():
        for text in lint_arg(name, row, flags):
            yield (*here, "args", name), text


def _variables(
    here: Path_, rows: Base | Variant, variables: Variables
) -> Iterator[Fault]:
    for name, row in rows.env.items():
        for text in check_environment([(name, row.value)], variables):
            yield (*here, "env", name), text


def lint_arg(name: str, row: ArgRow, flags: Mapping[str, Flag]) -> Iterator[str]:
    """Yield what is wrong with one flag and its value."""
    flag = flags.get(name)
    if flag is None:
        yield _unknown(name, flags)
    elif flag.takes_value == "no":
        if not isinstance(row.value, bool):
            yield f"it takes no value; write true or false, not {_text(row.value)}"
        elif not row.value and f"--no-{name[2:]}" not in flag.aliases:
            yield "it cannot be switched off; leave it out"
    elif isinstance(row.value, bool) and flag.takes_value != "optional":
        yield f"it takes a value, and not {_text(row.value)}; put words into quotes"
    elif isinstance(row.value, list) and flag.takes_value != "many":
        yield "it takes one value, not a list"
    else:
        yield from _choices(row.value, flag)


def _unknown(name: str, flags: Mapping[str, Flag]) -> str:
    for flag in flags.values():
        if name in flag.aliases:
            return f"write `{flag.name}`, the flag's own name, and true or false"
    return f"vLLM has no such flag{did_you_mean(name, flags)}"


def _choices(value: object, flag: Flag) -> Iterator[str]:
    if not flag.choices:
        return
    for one in value if isinstance(value, list) else [value]:
        if str(one) not in flag.choices:
            near = did_you_mean(str(one), flag.choices)
            yield f"{_text(one)} is not one of its values{near}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def lint_machines(
    recipes: Iterable[Recipe], hosts: Mapping[str, Host]
) -> Iterator[tuple[Recipe, str]]:
    """Yield the recipes that are for no machine or for every one, and equal ones.

    Args:
        recipes: All there are: those of one model are held against each other.
        hosts: Machines, by the names of their files.
    """
    every = tuple(recipes)
    tried = [(host, nodes) for host in hosts.values() for nodes in _NODES]
    verdicts = [judge(every, None, host, nodes=nodes) for host, nodes in tried]
    for index, recipe in enumerate(every):
        on_host = [
            [r.ok for r in judged[index].reasons if r.condition != "blocked"]
            for judged in verdicts
        ]
        held = sum(map(all, on_host))
        if not held:
            yield recipe, f"`when` holds on none of {len(hosts)} machines"
        elif held == len(tried):
            yield recipe, f"`when` holds on each of {len(hosts)} machines"
    yield from _ties(every, hosts)


def _ties(
    every: tuple[Recipe, ...], hosts: Mapping[str, Host]
) -> Iterator[tuple[Recipe, str]]:
    """Yield the recipes of one model that are equally good on some machine."""
    alike: dict[str, list[Recipe]] = {}
    for recipe in every:
        headers = replace(recipe.expect, log_must=(), log_must_not=(), canary=None)
        key = f"{recipe.model_id.casefold()} {headers}"
        alike.setdefault(key, []).append(recipe)
    said: set[str] = set()
    for of_model in alike.values():
        for name, host in hosts.items():
            for nodes in _NODES:
                try:
                    choose(judge(of_model, None, host, nodes=nodes))
                except RecipeError as error:
                    if error.problem not in said:
                        said.add(error.problem)
                        yield of_model[0], f"{name}, {nodes} nodes: {error.problem}"
