"""Write docs/cli.md and docs/errors.md from the program itself; `make docs` runs it.

A test compares the files with what this writes, so they cannot drift.
"""

import inspect
import sys
from pathlib import Path

import click

from nvfp4_serve import errors
from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import ExitCode, ServeError

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/make_reference.py; `make docs` writes it again. -->"


def main() -> int:
    """Write the pages; with ``--check``, only say which would change."""
    pages = {FOLDER / "cli.md": _cli(), FOLDER / "errors.md": _errors()}
    stale = [path for path, text in pages.items() if _read(path) != text]
    if sys.argv[1:] == ["--check"]:
        sys.stderr.writelines(f"{path.name} is stale: `make docs`\n" for path in stale)
        return len(stale)
    for path, text in pages.items():
        path.write_text(text)
    return 0


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _cli() -> str:
    parts = ["# Command line", NOTE, _help([])]
    context = click.Context(commands, info_name="nvfp4-serve")
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        parts += [f"## {name}", _help([name])]
        if isinstance(command, click.Group):
            parts += [_help([name, below]) for below in sorted(command.commands)]
    return "\n\n".join(parts) + "\n"


def _help(path: list[str]) -> str:
    """Return what ``nvfp4-serve PATH --help`` prints, as a code block."""
    command: click.Command = commands
    context = _context(command, "nvfp4-serve", None)
    for name in path:
        assert isinstance(command, click.Group)  # noqa: S101 - a path of the tree
        below = command.get_command(context, name)
        assert below  # noqa: S101
        command, context = below, _context(below, name, context)
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    return "\n".join(("```", *lines, "```"))


def _context(
    command: click.Command, name: str, parent: click.Context | None
) -> click.Context:
    settings = {**command.context_settings, "terminal_width": 80}
    return click.Context(command, info_name=name, parent=parent, **settings)


def _errors() -> str:
    rows = ["| code | name | what it says |", "|---:|---|---|"]
    kinds = {kind.exit_code: kind for kind in ServeError.__subclasses__()}
    for code in ExitCode:
        kind = kinds.get(code)
        says = inspect.getdoc(kind) if kind else _OTHERS[code]
        rows.append(f"| {code.value} | {code.name} | {says} |")
    tree = str(errors.__doc__).partition("\n\n")[2].rstrip()
    parts = ("# Exit codes and errors", NOTE, _ABOUT_ERRORS, "\n".join(rows))
    return "\n\n".join((*parts, f"```\n{inspect.cleandoc(tree)}\n```")) + "\n"


_ABOUT_ERRORS = """\
Every error says what is wrong with the value, what shows it, and what to do.
Errors go to stderr; scripts may rely on the codes."""

_OTHERS = {
    ExitCode.OK: "It did what was asked.",
    ExitCode.UNEXPECTED: "A bug in nvfp4-serve.",
    ExitCode.INTERRUPTED: "Ctrl-C, SIGTERM or SIGHUP; nothing is left running.",
}


if __name__ == "__main__":
    sys.exit(main())
