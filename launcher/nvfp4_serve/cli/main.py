"""The entry point: parse, call, print. One module per command, loaded when used."""

import difflib
import keyword
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

import click

from nvfp4_serve import __version__
from nvfp4_serve.errors import ExitCode, ServeError

#: Command to its module, and what the list of commands says of it. The modules are
#: imported when used, so that `--help` costs no more than click.
_COMMANDS: Final = {
    "serve": ("serve", "Serve a checkpoint, and wait until its answers are right."),
    "inspect": ("inspect", "Say what a checkpoint holds, from its headers alone."),
    "repair": ("repair", "Write a checkpoint again, in the layout that loaders know."),
    "plan": ("plan", "Say how a checkpoint would be served here, and why."),
    "quantize": ("quantize", "Make an NVFP4 checkpoint with ModelOpt, and check it."),
    "known-bad": ("known_bad", "List what is known not to work, and what to do."),
    "recipes": ("recipes", "Say which recipes fit, and why the others do not."),
    "import": ("import_", "Read the recipe of another tool, and say what is wrong."),
    "export": ("export", "Write a plan as a compose file, a recipe or a command."),
    "host": ("host", "Say what this machine has."),
    "doctor": ("doctor", "Say whether this machine can serve, and what would mend it."),
    "engine": ("engine", "Install the managed engine, or say what is there."),
    "ps": ("instances", "List the engines that `serve --detach` left running."),
    "stop": ("instances", "Stop an engine that `serve --detach` left running."),
    "logs": ("instances", "Print the log of a detached engine."),
}


class _Commands(click.Group):
    """A group that loads a command when it is used, and serves by default."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"nvfp4_serve.cli.{_COMMANDS[cmd_name][0]}")
        # Neither `known-bad` nor `import` can be the name of a function.
        name = cmd_name.replace("-", "_")
        name = f"{name}_" if keyword.iskeyword(name) else name
        command: click.Command = getattr(module, name)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``serve`` in front of arguments that name no command."""
        if args and args[0] not in {*_COMMANDS, "--help", "-h", "--version"}:
            _refuse_misspelt_command(args[0], ctx)
            args = ["serve", *args]
        return super().parse_args(ctx, args)


def _refuse_misspelt_command(word: str, ctx: click.Context) -> None:
    """Raise when ``word`` is nearly a command and cannot be a checkpoint."""
    near = difflib.get_close_matches(word, _COMMANDS, n=1, cutoff=0.75)
    if near and "/" not in word and not Path(word).exists():
        raise click.UsageError(
            f"No such command '{word}'. Did you mean '{near[0]}'?", ctx
        )


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="MODEL | COMMAND [ARGS]...",
)
@click.version_option(__version__, prog_name="nvfp4-serve")
def commands() -> None:
    """Serve any NVFP4 checkpoint, right, on the machine in front of you.

    MODEL is a folder or a Hub id; `nvfp4-serve MODEL` is short for
    `nvfp4-serve serve MODEL`.
    """


def main() -> None:
    """Run the command line; the only place where an error becomes an exit code."""
    leave(_run())


def leave(code: int) -> NoReturn:
    """End this process with ``code``, also where nobody can read its last words.

    Python would otherwise fail to write them at exit, and end with 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _run() -> int:
    try:
        code = commands.main(prog_name="nvfp4-serve", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        click.echo(f"hint: `{_path(error)} --help` says what it takes.", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except ServeError as error:
        print_error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (`| head`). The code is the one that click
        # gives when it notices first.
        return ExitCode.UNEXPECTED
    except Exception:  # noqa: BLE001 - the boundary: whatever is left is our bug
        traceback.print_exc()
        click.echo("error: this is a bug in nvfp4-serve; report it as it is.", err=True)
        return ExitCode.UNEXPECTED
    return code if isinstance(code, int) else ExitCode.OK


def _path(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return context.command_path if context else "nvfp4-serve"


def print_error(error: ServeError) -> None:
    """Print what is wrong, what shows it and what to do, to stderr."""
    click.echo(f"error: {error.problem}", err=True)
    for line in error.evidence:
        click.echo(f"  {line}", err=True)
    click.echo(f"hint: {error.fix}", err=True)
