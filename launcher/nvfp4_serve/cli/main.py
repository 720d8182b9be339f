"""The entry point: parse, call, print. One module per command."""

import click


@click.group()
def main() -> None:
    """Serve any NVFP4 checkpoint, right, on the machine in front of you."""
