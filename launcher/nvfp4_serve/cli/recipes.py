"""`nvfp4-serve recipes`: which recipes there are, and why each fits or does not."""

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.cli.options import facts_option
from nvfp4_serve.cli.recipe_check import check_recipes
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host import Host, detect_host, read_facts
from nvfp4_serve.recipe.choose import Chosen, choose, miss_text
from nvfp4_serve.recipe.judge import Names, judge, names_of
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.recipe.types import Reason, Recipe, Verdict


@click.command()
@click.argument("words", nargs=-1, metavar="[MODEL | FILE...]")
@facts_option
@click.option(
    "--nodes",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="How many such machines there are.",
)
@click.option("--revision", help="Branch, tag or commit of a Hub checkpoint.")
@click.option(
    "--by-name", is_flag=True, help="Take MODEL by its name; read nothing of it."
)
@click.option("--all", "every", is_flag=True, help="Those that do not fit, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--check", is_flag=True, help="Say what is wrong with recipe FILEs.")
@click.option(
    "--hosts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With `--check`: machines to hold the conditions against, as facts files.",
)
@click.pass_context
def recipes(context: click.Context, /, **_: object) -> None:
    """Say which recipes fit MODEL on this machine, with every reason.

    MODEL is a folder or a Hub id; without it, every recipe is held against this
    machine alone. `--check` looks at FILEs, or at all recipes, for who writes them.
    """
    given = context.params
    if given["check"]:
        check_recipes(tuple(map(Path, given["words"])), given["hosts"])
        return
    if given["hosts"] is not None:
        raise UsageError("`--hosts` goes with `--check`.", fix="Add `--check`.")
    host = detect_host() if given["facts"] is None else read_facts(given["facts"])
    model = _model(given["words"])
    if model is None:
        verdicts = judge(load_recipes(), None, host, nodes=given["nodes"])
        _print_table(verdicts, every=given["every"], as_json=given["as_json"])
        return
    layout = None if given["by_name"] else _layout(model, given["revision"])
    _print_model(
        _judge(model, layout, host, given["nodes"]),
        every=given["every"],
        as_json=given["as_json"],
    )


def _model(words: tuple[str, ...]) -> str | None:
    if len(words) > 1:
        raise UsageError(
            f"{len(words)} models were given: {', '.join(words)}.",
            fix="Give one; several FILEs go with `--check`.",
        )
    return words[0] if words else None


def _layout(model: str, revision: str | None) -> Layout:
    return read_layout(read_checkpoint(model, revision=revision))


class _Judged:
    """The verdicts on the recipes of one model, and on all others."""

    def __init__(self, names: Names, verdicts: tuple[Verdict, ...]) -> None:
        self.names = names
        self.ours = tuple(v for v in verdicts if names.are(v.recipe.model_id))
        self.others = tuple(v for v in verdicts if not names.are(v.recipe.model_id))


def _judge(model: str, layout: Layout | None, host: Host, nodes: int) -> _Judged:
    if layout is not None:
        names = names_of(layout)
    else:
        is_id = model.count("/") == 1 and not model.startswith((".", "/", "~"))
        names = Names(model, None) if is_id else Names(None, Path(model).name)
    return _Judged(names, judge(load_recipes(), layout, host, nodes=nodes))


def _print_model(judged: _Judged, *, every: bool, as_json: bool) -> None:
    shown = (*judged.ours, *judged.others) if every else judged.ours
    if as_json:
        chosen = choose(judged.ours)
        click.echo(json.dumps(_json(shown, chosen), indent=2, ensure_ascii=False))
        return
    for verdict in shown:
        click.echo("\n".join(_lines(verdict)) + "\n")
    for line in _ending(judged):
        click.echo(line)


def _lines(verdict: Verdict) -> Iterator[str]:
    recipe = verdict.recipe
    answer = "fits" if verdict.fits else "does not fit"
    yield f"{recipe.id}  {recipe.status}, {answer}"
    width = max((len(reason.condition) for reason in verdict.reasons), default=0)
    for reason in verdict.reasons:
        yield f"  {'ok' if reason.ok else 'NO'}  {reason.condition:<{width}}  " + (
            _told(reason)
        )
    for note in recipe.notes:
        yield f"  note: {note}"


def _told(reason: Reason) -> str:
    if reason.condition == "blocked":
        return reason.found
    return f"wanted {reason.wanted}, found {reason.found}"


def _ending(judged: _Judged) -> Iterator[str]:
    if not judged.ours:
        yield f"no recipe is for {judged.names.text}; a plan is made by rules"
        known = {v.recipe.model_id.rpartition("/")[2] for v in judged.others}
        for name in difflib.get_close_matches(judged.names.last, known, n=3):
            yield f"  there are recipes for {name}"
        return
    chosen = choose(judged.ours)
    if chosen.verdict is not None:
        yield f"a plan takes {chosen.verdict.recipe.id}"
    for finding in chosen.findings:
        yield f"{finding.severity}: {finding.message}"
        yield f"  {finding.fix}"


def _print_table(verdicts: Iterable[Verdict], *, every: bool, as_json: bool) -> None:
    ordered = sorted(verdicts, key=lambda v: (not v.fits, v.recipe.id))
    shown = [verdict for verdict in ordered if every or verdict.fits]
    if as_json:
        click.echo(json.dumps(_json(shown, None), indent=2, ensure_ascii=False))
        return
    wide = max((len(verdict.recipe.id) for verdict in shown), default=0)
    for verdict in shown:
        misses = "; ".join(map(miss_text, verdict.missed))
        row = f"{verdict.recipe.id:<{wide}}  {verdict.recipe.status:<8}  "
        click.echo(row + (f"NO  {misses}" if misses else verdict.recipe.model_id))
    if len(shown) < len(ordered):
        left = len(ordered) - len(shown)
        click.echo(f"{left} of {len(ordered)} do not fit here; `--all` says why")


def _json(verdicts: Iterable[Verdict], chosen: Chosen | None) -> dict[str, object]:
    data: dict[str, object] = {"recipes": [_verdict_json(v) for v in verdicts]}
    if chosen is not None:
        taken = chosen.verdict.recipe.id if chosen.verdict else None
        findings = [msgspec.to_builtins(finding) for finding in chosen.findings]
        data |= {"chosen": taken, "findings": findings}
    return data


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {
        "fits": verdict.fits,
        "reasons": [msgspec.to_builtins(reason) for reason in verdict.reasons],
        "gpus": [gpu.uuid for gpu in verdict.gpus],
        **_recipe_json(verdict.recipe),
    }


def _recipe_json(recipe: Recipe) -> dict[str, object]:
    data: dict[str, object] = msgspec.to_builtins(recipe)
    when = {
        name: [
            value["text"] if isinstance(value, dict) else value
            for value in (values if isinstance(values, list | tuple) else [values])
        ]
        for name, values in msgspec.to_builtins(recipe.when).items()
        if values not in (None, [], ())
    }
    return {**data, "when": when}
