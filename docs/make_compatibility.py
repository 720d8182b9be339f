"""Write the tables of docs/compatibility.md from the recipes and the machines.

``make docs`` runs it; a test compares the page with what this writes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import recipe_matrix as matrix

from nvfp4_serve.recipe.types import Recipe

PAGE = Path(__file__).parent / "compatibility.md"
_BEGIN = "<!-- Written by docs/make_compatibility.py from recipes/*.yaml. -->"
_END = "<!-- End of what is written by docs/make_compatibility.py. -->"
#: The flags that decide whether it runs and how fast; the others are in the recipe.
_KEY = (
    "--tensor-parallel-size",
    "--enable-expert-parallel",
    "--moe-backend",
    "--linear-backend",
    "--attention-backend",
    "--attention-config",
    "--kv-cache-dtype",
    "--speculative-config",
    "--gpu-memory-utilization",
    "--max-num-seqs",
)
_WORDS = {"published": "yes", "carried": "carried over", "blocked": "**no**"}


def main() -> int:
    """Write the page; with ``--check``, only say whether it would change."""
    page = PAGE.read_text()
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    wanted = f"{before}{_BEGIN}\n\n{_tables()}\n\n{_END}{after}"
    if sys.argv[1:] == ["--check"]:
        if wanted != page:
            sys.stderr.write("compatibility.md is stale: `make docs`\n")
        return wanted != page
    PAGE.write_text(wanted)
    return 0


def _tables() -> str:
    models = matrix.models()
    recipes = sum(len(model.recipes) for model in models)
    said = f"{len(models)} models, {recipes} recipes."
    return "\n".join((said, "", *_overview(models), "", *_details(models)))


def _overview(models: tuple[matrix.Model, ...]) -> Iterator[str]:
    names = [f"{family.name}<br>({family.about})" for family in matrix.FAMILIES]
    yield f"| model | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for model in models:
        cells = [_cell(model, family) for family in matrix.FAMILIES]
        yield f"| [{model.hub}](#{_anchor(model.hub)}) | {' | '.join(cells)} |"


def _cell(model: matrix.Model, family: matrix.Family) -> str:
    cell = matrix.shown(model, family)
    if cell is None:
        return "-"
    size = matrix.size_of(cell)
    return f"{_WORDS[cell.kind]}, {size}" if size else _WORDS[cell.kind]


def _anchor(hub: str) -> str:
    """Return the anchor that Markdown pages make of a heading."""
    kept = (letter for letter in hub.lower() if letter.isalnum() or letter in "-_")
    return "".join(kept)


def _details(models: tuple[matrix.Model, ...]) -> Iterator[str]:
    for model in models:
        yield f"## {model.hub}"
        yield ""
        yield f"{model.about} Source: {model.source}."
        yield ""
        for recipe in model.recipes:
            yield from _recipe(recipe)
        yield ""


def _recipe(recipe: Recipe) -> Iterator[str]:
    kind = {"published": "", "carried": ", carried over", "blocked": ", blocked"}
    said = recipe.status.value + kind[matrix.kind_of(recipe)]
    yield f"- **`{recipe.id}`**: {said}; {matrix.when_text(recipe)}"
    if recipe.blocked is not None:
        yield f"  - Blocked: {recipe.blocked}"
        return
    for flag in _KEY:
        if flag in recipe.args:
            arg = recipe.args[flag]
            words = " ".join(arg.words(flag))
            yield f"  - `{words}`: {arg.why}"
    others = [name for name in recipe.args if name not in _KEY]
    if others or recipe.env:
        yield f"  - and {', '.join(f'`{name}`' for name in (*others, *recipe.env))}"
    yield from (f"  - {note}" for note in recipe.notes)


if __name__ == "__main__":
    sys.exit(main())
