"""What several commands say. Text only; nothing is decided here."""

import click

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.finding import Severity


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
        click.echo(f"{finding.severity}: {finding.message}", err=True)
        click.echo(f"hint: {finding.fix}", err=True)
