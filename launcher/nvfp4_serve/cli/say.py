"""Words for the person who waits: to stderr, and without fail."""

import contextlib

import click


def say(line: str) -> None:
    """Print ``line`` on stderr.

    A terminal that was closed cannot be written to; the engine must be stopped all the
    same, so that is no error.
    """
    with contextlib.suppress(OSError):
        click.echo(line, err=True)
