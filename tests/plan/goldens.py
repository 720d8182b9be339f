"""Write or compare the golden plans: every checkpoint on every machine, for people.

    cd tests && ../.venv/bin/python -m plan.goldens

One file for each checkpoint in ``tests/plan/golden``, one section for each machine of
``tests/data/hosts``: the plan in short, or why there is none. And one file with every
recipe: the machines that it is for, and what the others lack.
"""

import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from checkpoint.test_real_exports import HEADERS, restored
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.facts import read_facts as read_checkpoint_facts
from nvfp4_serve.checkpoint.types import Checkpoint, Layout
from nvfp4_serve.errors import ServeError
from nvfp4_serve.finding import Severity
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.plan.flags import grouped_words
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.knowledge import Knowledge, load_knowledge
from nvfp4_serve.recipe.types import Recipe
from nvfp4_serve.units import format_bytes

RECIPES = "recipes"
_TESTS = Path(__file__).parents[1]
GOLDEN = _TESTS / "plan" / "golden"
_FACTS = _TESTS / "data" / "checkpoints"
_WIDTH = 88
#: Characters of a value that are shown; `plan --json` has all of it.
_LONGEST = 120


def names() -> tuple[str, ...]:
    """Return the checkpoints that there are: real headers, and constructed facts."""
    headers = [path.parent.name for path in HEADERS.glob("*/model.header.json")]
    facts = [path.stem for path in _FACTS.glob("*.json")]
    return (*sorted(headers), *sorted(facts), RECIPES)


@cache
def hosts() -> tuple[tuple[str, Host], ...]:
    """Return the machines, by name."""
    files = sorted((_TESTS / "data" / "hosts").glob("*.json"))
    return tuple((file.stem, read_facts(file)) for file in files)


@cache
def _knowledge() -> Knowledge:
    return load_knowledge()


def golden(name: str) -> str:
    """Return the plans of one checkpoint on every machine, or every verdict."""
    if name == RECIPES:
        return "\n\n".join("\n".join(_verdicts(r)) for r in _knowledge().recipes) + "\n"
    layout = read_layout(_checkpoint(name))
    blocks = ["\n".join(_about(name, layout))]
    if layout.servable:
        blocks += ["\n".join(_section(host, layout)) for host in hosts()]
    return "\n\n".join(blocks) + "\n"


def _checkpoint(name: str) -> Checkpoint:
    if (file := _FACTS / f"{name}.json").exists():
        return read_checkpoint_facts(file)
    with tempfile.TemporaryDirectory() as folder:
        found = read_checkpoint(str(restored(name, Path(folder))))
    return replace(found, model=f"/models/{name}", folder=f"/models/{name}")


def _about(name: str, layout: Layout) -> Iterator[str]:
    schemes = ", ".join(f"{part} {scheme}" for part, scheme in layout.schemes.items())
    yield f"# {name}"
    yield from _wrapped("  ", f"{layout.architecture}, {layout.layout}: {schemes}")
    yield f"  {format_bytes(layout.weight_bytes)}, {layout.parameters:,} parameters"
    for finding in layout.findings:
        if finding.severity is not Severity.INFO:
            yield from _wrapped("  ", f"{finding.severity}: {finding.message}")
    if not layout.servable:
        yield "  not planned: it must not be served"


def _section(named_host: tuple[str, Host], layout: Layout) -> Iterator[str]:
    name, host = named_host
    yield f"## {name}"
    try:
        made = make_plan(layout, host, Request(), _knowledge())
    except ServeError as error:
        yield from _wrapped("  ", f"{type(error).__name__}: {error.problem}")
        for line in error.evidence:
            yield from _wrapped("    ", line)
        yield from _wrapped("  hint: ", error.fix)
        return
    yield from _plan(made)


def _verdicts(recipe: Recipe) -> Iterator[str]:
    """Yield where a recipe fits, and of the other machines what they lack."""
    lacking: dict[str, list[str]] = {}
    for name, host in hosts():
        # A file that is called so describes one of two such machines.
        nodes = 2 if name.endswith("x2-node") else 1
        verdict = judge((recipe,), None, host, nodes=nodes)[0]
        missed = ", ".join(reason.condition for reason in verdict.missed)
        lacking.setdefault(missed, []).append(name)
    yield f"# {recipe.id}, {recipe.status}, for {recipe.model_id}"
    yield from _wrapped("  fits: ", ", ".join(lacking.pop("", ["none"])))
    for missed, machines in sorted(lacking.items()):
        yield from _wrapped(f"  {missed}: ", ", ".join(machines))


def _plan(made: Plan) -> Iterator[str]:
    gpus = f"{len(made.gpus)} GPUs" if made.gpus else "no GPU"
    yield f"  {made.engine}, {made.recipe_id or 'no recipe'}, {made.status}; {gpus}"
    parts = ("weights", "overhead", "kv_cache", "free", "total")
    yield "  " + ", ".join(
        f"{part.replace('_', ' ')} {format_bytes(getattr(made.budget, part))}"
        for part in parts
    )
    for variable, value in made.env:
        yield f"  {variable}={_env(variable, value)}"
    yield f"  vllm serve {made.argv[0]}"
    for flag in grouped_words(made.argv[1:]):
        yield f"    {_short(' '.join(flag))}"
    for finding in made.findings:
        yield from _wrapped("  ", f"{finding.severity}: {finding.message}")


def _env(variable: str, value: str) -> str:
    """Return the value; of GPUs, how many there are and the first."""
    uuids = value.split(",")
    if variable == "CUDA_VISIBLE_DEVICES" and len(uuids) > 1:
        return f"{uuids[0]},... ({len(uuids)})"
    return _short(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)})"


def _wrapped(indent: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent) + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def write() -> None:
    """Write all of them, and remove those whose checkpoint has gone."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        if old.stem not in names():
            old.unlink()
    for name in names():
        (GOLDEN / f"{name}.txt").write_text(golden(name))


if __name__ == "__main__":
    write()
