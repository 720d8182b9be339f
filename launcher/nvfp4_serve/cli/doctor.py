"""`nvfp4-serve doctor`: say whether this machine can serve, and what would mend it."""

import json
from pathlib import Path

import click

from nvfp4_serve.cli.checks import Asked, Report, examine
from nvfp4_serve.cli.options import facts_option
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.finding import Severity


@click.command()
@click.argument("model", required=False)
@click.option("--revision", help="Branch, tag or commit of a Hub checkpoint.")
@click.option("--image", help="The container image that is to serve here.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@facts_option
@click.pass_context
def doctor(
    context: click.Context,
    /,
    *,
    model: str | None,
    revision: str | None,
    image: str | None,
    port: int,
    as_json: bool,
    facts: Path | None,
) -> None:
    """Say whether this machine can serve (MODEL, if given), and what would mend it.

    Nothing is changed and nothing is fetched. With `--image`, a container of an image
    that is here looks for the GPUs from inside. Ends with 20 where something forbids
    serving.
    """
    report = examine(
        Asked(model=model, revision=revision, image=image, port=port, facts=facts)
    )
    if as_json:
        click.echo(json.dumps(_json(report), indent=2))
    else:
        for line in _lines(report):
            click.echo(line)
    if not report.may_serve:
        context.exit(ExitCode.HOST)


def _json(report: Report) -> dict[str, object]:
    return {
        "may_serve": report.may_serve,
        "findings": [
            {"id": f.id, "severity": f.severity, "message": f.message, "fix": f.fix}
            for f in report.findings
        ],
        "checked": list(report.checked),
        "not_checked": [{"what": what, "why": why} for what, why in report.not_checked],
    }


def _lines(report: Report) -> list[str]:
    lines = []
    for finding in report.findings:
        lines += [
            f"{finding.severity.value}: {finding.message} [{finding.id}]",
            f"  hint: {finding.fix}",
            "",
        ]
    width = max(len(what) for what in (*report.checked, *dict(report.not_checked)))
    lines += [f"checked      {what}" for what in report.checked]
    lines += [
        f"not checked  {what:<{width}}  {why}" for what, why in report.not_checked
    ]
    errors = sum(f.severity is Severity.ERROR for f in report.findings)
    warnings = sum(f.severity is Severity.WARNING for f in report.findings)
    if errors:
        verdict = f"this machine cannot serve as it is: {errors} to mend first"
    else:
        verdict = "nothing that was checked forbids serving"
    lines += ["", f"{verdict} ({warnings} warnings)"]
    return lines
