"""A Plan as a shell command: what one would type by hand."""

import shlex

from nvfp4_serve.plan.types import Plan


def render_shell(plan: Plan) -> str:
    """Return a POSIX shell script that serves as the plan says, with its reasons.

    Every word is quoted; nothing in a checkpoint's name is the shell's to read.
    """
    comments = [f"# {r.flag}: {r.why} ({r.source})" for r in plan.because]
    variables = [f"{name}={shlex.quote(value)}" for name, value in plan.env]
    command = ["vllm serve", shlex.quote(plan.argv[0]), *_lines(plan.argv[1:])]
    head = f"# {plan.engine}, {plan.status}"
    if plan.recipe_id is not None:
        head += f", recipe {plan.recipe_id}"
    comments = [*(f"# {f.severity}: {f.message}" for f in plan.findings), *comments]
    return "\n".join((head, *map(_one_line, comments), _join(variables, command)))


def _join(variables: list[str], command: list[str]) -> str:
    first = " ".join((*variables, *command[:2]))
    return " \\\n  ".join((first, *command[2:]))


def _lines(words: tuple[str, ...]) -> list[str]:
    """Put each flag and its values on one line."""
    lines: list[str] = []
    for word in words:
        if word.startswith("-") or not lines:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return lines


def _one_line(comment: str) -> str:
    """Keep a comment a comment, whatever characters a name brings along."""
    return " ".join(comment.split())
