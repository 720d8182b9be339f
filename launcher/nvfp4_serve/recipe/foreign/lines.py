"""Lines of a pasted command: those that are no shell's, and those that are lost."""

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.types import error
from nvfp4_serve.recipe.foreign.words import (
    BLANK_AFTER,
    Command,
    Script,
    Word,
    read_script,
)


def script_of(text: str, first_line: int) -> Script:
    """Read ``text`` as if it stood at ``first_line``; a Markdown fence is no shell."""
    lines = [
        "" if line.strip().startswith("```") else _without_prompt(line)
        for line in text.split("\n")
    ]
    script = read_script("\n" * (first_line - 1) + "\n".join((*lines, "")))
    if script.faults:
        raise RecipeError(
            "The command cannot be read.",
            evidence=tuple(f"line {f.line}: {f.text}" for f in script.faults),
            fix="Correct these lines; write values out, without the shell's help.",
        )
    return script


def _without_prompt(line: str) -> str:
    stripped = line.lstrip()
    return stripped[2:] if stripped.startswith(("$ ", "% ")) else line


def without_lost(
    words: tuple[Word, ...], commands: tuple[Command, ...], label: str
) -> tuple[tuple[Word, ...], tuple[Finding, ...]]:
    """Return the words that the server gets, and which flags a shell does not give it.

    Args:
        words: What follows ``vllm serve``.
        commands: The server's command, and those below it.
        label: The file, for messages.
    """
    served = commands[0]
    lost: list[Word] = []
    for command in commands[1:]:
        if not command.words[0].text.startswith("-"):
            break
        lost += command.words
    if served.cut == BLANK_AFTER and words and not words[-1].text.strip():
        # Bash makes a word of the blank; nobody meant it.
        words = words[:-1]
    flags = [w.text.partition("=")[0] for w in lost if w.text.startswith("-")]
    if not flags:
        return words, ()
    noun = "flag is" if len(flags) == 1 else "flags are"
    reason = served.cut or "no backslash at its end"
    finding = error(
        "command-ends-early",
        f"{label}:{served.end_line}: this line ends the command ({reason}): "
        f"{len(flags)} {noun} lost: {', '.join(flags)}.",
        "The shell never gives them to vLLM, so they are not in the recipe. "
        "Mend the line and import it again to have them.",
    )
    return words, (finding,)
