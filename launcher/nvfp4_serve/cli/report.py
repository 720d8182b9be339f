"""What several commands say. Text only; nothing is decided here."""

import click

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.plan import Plan
from nvfp4_serve.plan.types import Ready


def refuse(layout: Layout) -> None:
    """Print the findings of ``layout``; raise when one forbids serving it.

    Raises:
        CheckpointError: With every finding that forbids it.
    """
    errors = [f for f in layout.findings if f.severity is Severity.ERROR]
    if errors:
        raise CheckpointError(
            f"{layout.model} must not be served.",
            evidence=tuple(f"{f.id}: {f.message}" for f in errors),
            fix=" ".join(dict.fromkeys(f.fix for f in errors)),
        )
    warn(layout)


def warn(layout: Layout) -> None:
    """Print the findings of ``layout``."""
    for finding in layout.findings:
        _warn_of(finding)


def warn_of_plan(plan: Plan) -> None:
    """Print which recipe ``plan`` has, and the findings of it."""
    if plan.recipe_id is not None:
        click.echo(f"recipe {plan.recipe_id}, {plan.status}", err=True)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    for finding in plan.findings:
        _warn_of(finding)


def _warn_of(finding: Finding) -> None:
    click.echo(f"{finding.severity}: {finding.message}", err=True)
    click.echo(f"hint: {finding.fix}", err=True)


def ready_text(ready: Ready) -> str:
    """Return how long a start takes, and who says so."""
    spans = [
        f"{seconds} s {when}"
        for seconds, when in (
            (ready.cold_seconds, "at the first start"),
            (ready.warm_seconds, "at a later one"),
        )
        if seconds is not None
    ]
    return f"{', '.join(spans)}; {ready.source}"
