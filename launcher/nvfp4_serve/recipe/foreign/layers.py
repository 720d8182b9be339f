"""The layers of a recipe of vllm-project/recipes, in the order in which they count.

Source:
    vllm-project/recipes of 2026-08-21, ``src/lib/command-synthesis.js``,
    ``resolveCommand``: base, variant, strategy, sizes, overrides, features; of two
    equal flags the last one stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from nvfp4_serve.recipe.foreign.hardware import Profile
from nvfp4_serve.recipe.foreign.types import Setting
from nvfp4_serve.recipe.foreign.words import Word
from nvfp4_serve.recipe.yaml_foreign import ForeignYaml

Path_ = tuple[str | int, ...]

#: The variables that its strategies over several nodes set.
_NODE_VARIABLES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of its many commands is wanted."""

    variant: str
    profile: Profile
    strategy: str
    nodes: int


def below(data: object, *path: str) -> object:
    """Return what stands at ``path``, or None."""
    for key in path:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def launch_words(source: ForeignYaml, choice: Choice) -> tuple[Word, ...]:
    """Return what follows ``vllm serve``, the model first."""
    data = source.data
    path: tuple[str, ...] = ("variants", choice.variant, "model_id")
    if below(data, *path) is None:
        path = ("model", "model_id")
    model = Word(str(below(data, *path)), source.line(*path))
    words: list[Word] = []
    words += _listed(source, ("model", "base_args"))
    words += _listed(source, ("variants", choice.variant, "extra_args"))
    words += _listed(
        source,
        ("variants", choice.variant, "hardware_overrides", choice.profile.name,
         "extra_args"),
    )  # fmt: skip
    words += _sizes(source, choice)
    strategy = ("strategy_overrides", choice.strategy)
    for name in ("extra_args", "vllm_args"):
        words += _listed(source, (*strategy, name))
    for block in _overrides(data, choice):
        words += _listed(source, (*block, "extra_args"))
    for block in _features(data, choice):
        words += _listed(source, block)
    return (model, *_last_wins(words))


def settings_of(source: ForeignYaml, choice: Choice) -> tuple[Setting, ...]:
    """Return the variables; of two equal ones the last stays."""
    found: dict[str, Setting] = {}
    variant = ("variants", choice.variant)
    strategy = ("strategy_overrides", choice.strategy)
    first: tuple[tuple[str, ...], ...] = (
        ("model", "base_env"),
        (*variant, "extra_env"),
        (*variant, "hardware_overrides", choice.profile.name, "extra_env"),
    )
    for path in first:
        _take(source, path, found)
    if choice.strategy.startswith("multi"):
        for name in _NODE_VARIABLES:
            found[name] = Setting(name, "$IFACE_NAME", 1)
    for path in (
        (*strategy, "env"),
        (*strategy, "extra_env"),
        *((*path, "extra_env") for path in _overrides(source.data, choice)),
        *((*path[:-1], "env") for path in _features(source.data, choice)),
    ):
        _take(source, path, found)
    return tuple(found.values())


def _take(
    source: ForeignYaml, path: tuple[str, ...], found: dict[str, Setting]
) -> None:
    values = below(source.data, *path)
    for name, value in values.items() if isinstance(values, dict) else ():
        found[name] = Setting(name, _shown(value), source.line(*path, name))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(source: ForeignYaml, path: tuple[str, ...]) -> Iterator[Word]:
    values = below(source.data, *path)
    for index, value in enumerate(values if isinstance(values, list) else ()):
        text = _shown(value)
        word = Word(text, source.line(*path, index))
        yield replace(word, expansions=(text,)) if text.startswith("$") else word


def _sizes(source: ForeignYaml, choice: Choice) -> Iterator[Word]:
    """Yield the flags of the strategy itself."""
    line = source.line("compatible_strategies")
    gpus = choice.profile.gpus
    told: list[str] = []
    if choice.strategy.endswith(("_tep", "_dep")):
        told.append("--enable-expert-parallel")
    if choice.strategy.startswith("multi"):
        told += ["--tensor-parallel-size", str(gpus * choice.nodes)]
        told += ["--nnodes", str(choice.nodes), "--node-rank", "0"]
        told += ["--master-addr", "$HEAD_IP"]
    elif choice.strategy == "single_node_dep":
        told += ["--data-parallel-size", str(gpus)]
    else:
        told += ["--tensor-parallel-size", str(_tensor_parallel(source.data, choice))]
    for text in told:
        word = Word(text, line)
        yield replace(word, expansions=(text,)) if text.startswith("$") else word


def _tensor_parallel(data: dict[str, Any], choice: Choice) -> int:
    """Return the number of GPUs: as told, or one where it fits, or all of them."""
    profile = choice.profile
    if choice.strategy != "single_node_tp":
        return profile.gpus
    variant = below(data, "variants", choice.variant)
    for told in (
        below(variant, "tp"),
        below(data, "strategy_overrides", choice.strategy, "tp"),
    ):
        value = told if isinstance(told, int) else keyed(told, profile)
        if isinstance(value, int) and value > 0:
            return min(value, profile.gpus)
    needed = below(variant, "vram_minimum_gb")
    if not isinstance(needed, int | float) or not needed:
        return profile.gpus
    return 1 if needed <= profile.memory / profile.gpus else profile.gpus


def keyed(value: object, profile: Profile) -> object:
    """Return what a mapping says of a machine: by name, family, brand or default."""
    if not isinstance(value, dict):
        return None
    for key in (profile.name, profile.generation, "nvidia", "default"):
        if value.get(key) is not None:
            return value[key]
    return None


def _overrides(data: dict[str, Any], choice: Choice) -> Iterator[tuple[str, ...]]:
    """Yield the blocks for the family of GPUs, then that for this very one."""
    strategy = ("strategy_overrides", choice.strategy, "hardware_overrides")
    own = _family(data, strategy, choice.profile)
    if own is not None:
        yield own
    else:
        for start in (
            ("hardware_overrides",),
            ("variants", choice.variant, "hardware_overrides"),
        ):
            found = _family(data, start, choice.profile)
            if found is not None:
                yield found
    yield (*strategy, choice.profile.name)


def _family(
    data: dict[str, Any], path: tuple[str, ...], profile: Profile
) -> tuple[str, ...] | None:
    for key in (profile.generation, "nvidia"):
        if below(data, *path, key):
            return (*path, key)
    return None


def _features(data: dict[str, Any], choice: Choice) -> Iterator[tuple[str, ...]]:
    """Yield the lists of the features that are on unless somebody asks."""
    features = _mapping(below(data, "features"))
    forced = _mapping(below(data, "variants", choice.variant, "default_modes"))
    asked = [
        *_list(below(data, "opt_in_features")),
        *_list(below(data, "hardware_opt_in_features", choice.profile.name)),
    ]
    for name, feature in features.items():
        if name in asked and name not in forced:
            continue
        allowed = below(feature, "strategies")
        if isinstance(allowed, list) and allowed and choice.strategy not in allowed:
            continue
        path: tuple[str, ...] = ("features", name)
        mode = _mode(feature, name, forced, choice)
        if mode is not None:
            path = (*path, "modes", mode)
            yield from _replaced(data, path, choice.profile, by_name=True)
        elif below(feature, "modes") is None:
            yield from _replaced(data, path, choice.profile, by_name=False)


def _mode(
    feature: object, name: str, forced: dict[str, Any], choice: Choice
) -> str | None:
    modes = below(feature, "modes")
    if not isinstance(modes, dict):
        return None
    usable = [mode for mode, told in modes.items() if _is_usable(told, choice)]
    wanted = (below(forced, name), below(feature, "default_mode"), *usable)
    return next((str(mode) for mode in wanted if mode in usable), None)


def _is_usable(mode: object, choice: Choice) -> bool:
    variants = below(mode, "variants")
    if isinstance(variants, list) and variants and choice.variant not in variants:
        return False
    told = below(mode, "hardware")
    return "unsupported" not in (
        below(told, choice.profile.generation),
        below(told, choice.profile.name),
    )


def _replaced(
    data: dict[str, Any], path: tuple[str, ...], profile: Profile, *, by_name: bool
) -> Iterator[tuple[str, ...]]:
    """Yield the list of a feature; one for this hardware stands in its place."""
    keys = (profile.name,) if by_name else ()
    last = ("default",) if by_name else ()
    for key in (*keys, profile.generation, "nvidia", *last):
        block = (*path, "hardware_overrides", key)
        if below(data, *block) is not None:
            if below(data, *block, "args") is not None:
                yield (*block, "args")
                return
            break
    yield (*path, "args")


def _last_wins(words: list[Word]) -> Iterator[Word]:
    """Yield the words without those flags that stand again further down."""
    units: list[list[Word]] = []
    for word in words:
        follows = bool(units) and units[-1][0].text.startswith("-")
        if not word.text.startswith("-") and follows and len(units[-1]) == 1:
            units[-1].append(word)
        else:
            units.append([word])
    last = {unit[0].text: index for index, unit in enumerate(units)}
    for index, unit in enumerate(units):
        is_flag = unit[0].text.startswith("-")
        if not is_flag or last[unit[0].text] == index:
            yield from unit
