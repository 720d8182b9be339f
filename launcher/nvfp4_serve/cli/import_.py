"""``nvfp4-serve import``: somebody else's recipe, in our words, and what is wrong."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nvfp4_serve.errors import ExitCode, HostError, RecipeError, UsageError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host import Host, read_facts
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.plan.foreign import known_bad_of
from nvfp4_serve.recipe.foreign.detect import Form
from nvfp4_serve.recipe.foreign.document import Imported, recipe_data, recipe_text
from nvfp4_serve.recipe.foreign.flags import pinned_flags
from nvfp4_serve.recipe.foreign.hardware import PROFILES
from nvfp4_serve.recipe.foreign.read import (
    LONGEST,
    Wanted,
    read_foreign,
    with_findings,
    worst,
)
from nvfp4_serve.recipe.foreign.types import Machine
from nvfp4_serve.recipe.foreign.vllm_recipes import Asked
from nvfp4_serve.recipe.known_bad import load_known_bad

_GPU = re.compile(r"(\d{1,2}\.\d)(?:\s*[xX*]\s*(\d{1,3}))?")


@click.command("import")
@click.argument("source", metavar="FILE|-")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", *(form.value for form in Form)]),
    default="auto",
    show_default=True,
    help="What FILE is.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the recipe here, not to stdout.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--model", help="The model's id on the Hub, where FILE names a folder.")
@click.option("--gpu", help="The machine that it is wanted for: `12.1x2`, `b300`.")
@click.option("--variant", help="Which variant of a file of vllm-project/recipes.")
@click.option("--strategy", help="Which strategy of a file of vllm-project/recipes.")
@click.option(
    "--nodes", type=click.IntRange(min=1), help="Machines that work together."
)
# Not `options.facts_option`: without it, this machine is not looked at.
@click.option(
    "--facts",
    type=click.Path(path_type=Path),
    help="The machine that it is wanted for, as this file describes it.",
)
@click.pass_context
def import_(context: click.Context, /, **_: object) -> None:
    """Read the recipe of another tool, and say what is wrong with it.

    FILE is a recipe of sparkrun, eugr or vllm-project/recipes, a compose file, or a
    shell text with `docker run` or `vllm serve`; `-` reads it from stdin. Nothing of
    it is run. The recipe goes to stdout, what was found goes to stderr. Ends with 30
    if something was found that must be mended first.
    """
    given = context.params
    raw, label = _read(given["source"])
    host = None if given["facts"] is None else read_facts(given["facts"])
    wanted = Wanted(
        form=None if given["form"] == "auto" else Form(given["form"]),
        model=given["model"],
        machine=_machine(given, host),
        asked=Asked(given["variant"], given["strategy"]),
    )
    flags = pinned_flags()
    imported = read_foreign(raw, label, wanted, flags)
    bad = known_bad_of(imported, load_known_bad(), flags.spellings, host)
    imported = with_findings(imported, bad)
    _write(imported, given["output"], as_json=given["as_json"])
    is_bad = worst(imported.findings) is Severity.ERROR
    context.exit(ExitCode.RECIPE if is_bad else ExitCode.OK)


def _read(source: str) -> tuple[bytes, str]:
    """Return the bytes of a file or of stdin, one more than is read, and its name."""
    if source == "-":
        return sys.stdin.buffer.read(LONGEST + 1), "stdin"
    try:
        with Path(source).open("rb") as file:
            return file.read(LONGEST + 1), Path(source).name
    except OSError as error:
        raise RecipeError(
            f"{source} cannot be read: {error.strerror}.", fix="Check the path."
        ) from error


def _machine(given: dict[str, Any], host: Host | None) -> Machine:
    """Return the machine that the user names.

    Raises:
        UsageError: It is named twice, or not as ``12.1x2``.
    """
    nodes = given["nodes"] or 1
    if host is not None:
        if given["gpu"] is not None:
            raise UsageError(
                "`--gpu` and `--facts` both name a machine.", fix="Give one of them."
            )
        return _machine_of(host, given["facts"], nodes)
    if given["gpu"] is None:
        return Machine(nodes=nodes)
    if given["gpu"] in PROFILES:
        return replace(PROFILES[given["gpu"]].machine, nodes=nodes)
    found = _GPU.fullmatch(given["gpu"].strip())
    if found is None or found[2] == "0":
        raise UsageError(
            f"`--gpu {given['gpu']}` names no machine that is known here.",
            evidence=(f"known are {', '.join(PROFILES)}",),
            fix="Write compute capability and number of GPUs, `12.1x2`; "
            "`nvfp4-serve host` says both.",
        )
    return Machine(None, found[1], int(found[2] or 1), nodes)


def _machine_of(host: Host, path: Path, nodes: int) -> Machine:
    if not host.gpus:
        raise HostError(
            f"{path} describes a machine without a GPU.",
            fix="Name the machine that the recipe is for.",
        )
    capability = capability_text(host.gpus[0].compute_capability)
    return Machine(None, capability, len(host.gpus), nodes)


def _write(imported: Imported, output: Path | None, *, as_json: bool) -> None:
    if as_json:
        text = json.dumps(_json(imported), indent=2, ensure_ascii=False) + "\n"
    else:
        text = recipe_text(imported)
        for line in _lines(imported):
            click.echo(line, err=True)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise RecipeError(
            f"{output} cannot be written: {error.strerror}.", fix="Check the path."
        ) from error
    click.echo(f"written to `{output}`", err=True)


def _json(imported: Imported) -> dict[str, Any]:
    return {
        "format": imported.form,
        "source": imported.label,
        "image": imported.launch.image,
        "recipe": recipe_data(imported),
        "findings": [
            {
                "id": finding.id,
                "severity": finding.severity,
                "message": finding.message,
                "fix": finding.fix,
            }
            for finding in imported.findings
        ],
    }


def _lines(imported: Imported) -> Iterator[str]:
    counts = {
        severity: sum(f.severity is severity for f in imported.findings)
        for severity in Severity
    }
    yield (
        f"{imported.label}: {imported.form}, {len(imported.arguments)} flags and "
        f"{len(imported.environment)} variables taken over; "
        f"{counts[Severity.ERROR]} errors, {counts[Severity.WARNING]} warnings, "
        f"{counts[Severity.INFO]} notes"
    )
    for finding in imported.findings:
        yield from _finding_lines(finding)


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity.value}: {finding.message} [{finding.id}]"
    yield f"  fix: {finding.fix}"
