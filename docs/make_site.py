"""Write the static page about recipes: ``make site`` -> build/site/.

One index and one page a model. Each file holds its style and its script, and asks
nobody for anything: no server, no network, no cookies. The policy in its head allows
just that style and that script, by their hashes.
"""

import base64
import hashlib
import shlex
import shutil
import sys
from html import escape
from pathlib import Path
from string import Template

import recipe_matrix as matrix

from nvfp4_serve import __version__
from nvfp4_serve.recipe.types import Recipe
from nvfp4_serve.resources import VLLM_VERSION

_PARTS = Path(__file__).parent / "site"
_OUT = matrix.TOP / "build" / "site"
_WORDS = {
    "published": "published",
    "carried": "carried over",
    "blocked": "does not work",
}


def main() -> int:
    """Write the pages into the folder that is named, or into build/site/."""
    out = Path(sys.argv[1]) if sys.argv[1:] else _OUT
    if out == _OUT and out.is_dir():
        shutil.rmtree(out)
    (out / "models").mkdir(parents=True, exist_ok=True)
    models = matrix.models()
    (out / "index.html").write_text(_page("NVFP4 models and machines", _index(models)))
    for model in models:
        title = f"{model.hub}: NVFP4 recipes"
        (out / "models" / f"{model.id}.html").write_text(_page(title, _model(model)))
    sys.stdout.write(f"{out / 'index.html'} and {len(models)} pages\n")
    return 0


def _part(name: str) -> str:
    return (_PARTS / name).read_text()


def _fill(name: str, **values: str) -> str:
    return Template(_part(name)).substitute(values)


def _page(title: str, body: str) -> str:
    style, script = _part("site.css"), _part("site.js")
    return _fill(
        "page.html",
        title=escape(title),
        body=body,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
        vllm=VLLM_VERSION,
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _times(name: str) -> str:
    """Return a machine's name as HTML: ``2 x GB10`` with a real multiplication sign."""
    return escape(name).replace(" x ", " &times; ")


def _index(models: tuple[matrix.Model, ...]) -> str:
    groups = (
        f'<optgroup label="{escape(family.name)}">'
        + "".join(
            f'<option value="{one.id}">{_times(one.name)}</option>'
            for one in family.machines
        )
        + "</optgroup>"
        for family in matrix.FAMILIES
    )
    heads = (
        f'<th role="columnheader" scope="col">{escape(family.name)}'
        f"<small>{escape(family.about)}</small></th>"
        for family in matrix.FAMILIES
    )
    return _fill(
        "index.html",
        models=str(len(models)),
        recipes=str(sum(len(model.recipes) for model in models)),
        machines="".join(groups),
        heads="".join(heads),
        rows="\n".join(map(_row, models)),
    )


def _row(model: matrix.Model) -> str:
    owner, _, name = model.hub.partition("/")
    kinds = "".join(
        f' data-{kind}="'
        + " ".join(cell.machine.id for cell in model.cells if cell.kind == kind)
        + '"'
        for kind in _WORDS
    )
    cells = "".join(_index_cell(model, family) for family in matrix.FAMILIES)
    return (
        f'<tr role="row" data-name="{escape(model.hub.lower())}"{kinds}>'
        '<th role="rowheader" scope="row">'
        f'<a href="models/{model.id}.html">{escape(name)}</a>'
        f'<span class="owner">{escape(owner)}</span></th>{cells}</tr>'
    )


def _index_cell(model: matrix.Model, family: matrix.Family) -> str:
    open_ = f'<td role="cell" data-family="{escape(family.name)}">'
    cell = matrix.shown(model, family)
    if cell is None:
        return f'{open_}<span class="empty" aria-label="no recipe">&ndash;</span></td>'
    size = matrix.size_of(cell)
    said = f'<span class="size">{size}</span>' if size else ""
    link = f"models/{model.id}.html#{_anchor(cell.best.recipe)}"
    return f'{open_}<a href="{link}">{_badge(cell.kind)}{said}</a></td>'


def _badge(kind: str) -> str:
    return f'<span class="badge {kind}">{_WORDS[kind]}</span>'


def _anchor(recipe: Recipe) -> str:
    return recipe.id.partition("/")[2]


def _model(model: matrix.Model) -> str:
    return _fill(
        "model.html",
        hub=escape(model.hub),
        about=_text(model.about or "The model that this project began with."),
        source=_text(model.source),
        machines="\n".join(_machine(cell) for cell in model.cells),
        jumps="\n".join(map(_jump, model.recipes)),
        recipes="\n".join(map(_recipe, model.recipes)),
    )


def _jump(recipe: Recipe) -> str:
    anchor = _anchor(recipe)
    badge = _badge(matrix.kind_of(recipe))
    return f'<li><a href="#{anchor}">{escape(anchor)}</a> {badge}</li>'


def _text(words: str) -> str:
    """Return ``words`` as HTML, with code between backticks as code."""
    parts = escape(words).split("`")
    return "".join(
        f"<code>{part}</code>" if index % 2 else part
        for index, part in enumerate(parts)
    )


def _breakable(words: str) -> str:
    """Return a flag as HTML that breaks where an object or a variable has a joint."""
    return escape(words).replace(",", ",<wbr>").replace("=", "=<wbr>")


def _machine(cell: matrix.Cell) -> str:
    name = f'<th role="rowheader" scope="row">{_times(cell.machine.name)}</th>'
    if cell.kind == "none":
        missed = "; ".join(
            f"{reason.condition.replace('_', ' ')}: {reason.wanted} wanted, "
            f"{reason.found} found"
            for reason in cell.best.missed
            if reason.condition != "blocked"
        )
        verdict = '<span class="note">no recipe</span>'
        nearest = escape(_anchor(cell.best.recipe))
        said = f'<span class="note">nearest is {nearest}: {_text(missed)}</span>'
    else:
        verdict = _badge(cell.kind)
        taken = (cell.best.recipe, *cell.others)
        said = ", ".join(f'<a href="#{_anchor(r)}">{escape(r.id)}</a>' for r in taken)
    return (
        f'<tr role="row">{name}<td role="cell" data-family="Verdict">{verdict}</td>'
        f'<td role="cell" data-family="Recipe"><div>{said}</div></td></tr>'
    )


def _recipe(recipe: Recipe) -> str:
    kind = matrix.kind_of(recipe)
    anchor = _anchor(recipe)
    parts = [
        f'<section class="card" id="{anchor}" aria-labelledby="{anchor}-name">',
        f'<h2 id="{anchor}-name">{escape(anchor)} {_badge(kind)}</h2>',
        f'<p class="note">For {_text(matrix.when_text(recipe))}.</p>',
        f'<p class="note">Status: {recipe.status.value}.</p>',
    ]
    if recipe.blocked is not None:
        parts.append(f'<p class="wrong">{_text(recipe.blocked)}</p>')
    parts += [f'<p class="note">{_text(note)}</p>' for note in recipe.notes]
    parts.append(_launch(recipe))
    if recipe.ready:
        parts.append(f'<p class="note">First start: {_ready(recipe)}</p>')
    parts.append(_table(recipe))
    return "\n".join((*parts, "</section>"))


def _ready(recipe: Recipe) -> str:
    assert recipe.ready  # noqa: S101 - its caller looked
    seconds = recipe.ready.cold_seconds or recipe.ready.warm_seconds
    return f"{seconds} s ({_text(recipe.ready.source)})."


def _launch(recipe: Recipe) -> str:
    """Return the command of ours, or why there is none.

    Never a line for vLLM itself: it would lack what a plan adds from the checkpoint,
    and a draft layer that its config does not declare then loads wrong, silently.
    """
    if recipe.blocked is not None:
        return ""
    if matrix.nodes_of(recipe) > 1:
        return (
            '<p class="note">This version starts an engine on one machine; '
            "for several, take the flags below into a launch of your own.</p>"
        )
    line = shlex.join(("nvfp4-serve", "serve", recipe.model_id, "--recipe", recipe.id))
    name = f"{_anchor(recipe)}-command"
    return (
        f'<div class="command"><pre id="{name}">{escape(line)}</pre>'
        f'<button type="button" hidden data-copies="{name}" '
        'aria-label="Copy the command">Copy</button></div>'
    )


def _table(recipe: Recipe) -> str:
    rows = [
        (" ".join(arg.words(flag)), arg.why, arg.source)
        for flag, arg in recipe.args.items()
    ]
    rows += [
        (f"{name}={row.value}", row.why, row.source) for name, row in recipe.env.items()
    ]
    if not rows:
        return '<p class="note">It sets no flag of its own; the rules decide.</p>'
    body = "\n".join(
        f'<tr><th scope="row" class="value">{_breakable(words)}</th>'
        f'<td>{_text(why)}</td><td class="source">{_text(source)}</td></tr>'
        for words, why, source in rows
    )
    return (
        f'<div class="scroll"><table class="flags"><thead><tr><th scope="col">Flag</th>'
        '<th scope="col">Why</th><th scope="col">Source</th></tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


if __name__ == "__main__":
    sys.exit(main())
