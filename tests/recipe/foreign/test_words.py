"""The reader of shell text, held against a real bash."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from nvfp4_serve.recipe.foreign.words import (
    BLANK_AFTER,
    BLANK_LINE,
    COMMENT_LINE,
    Command,
    read_script,
)

needs_bash = pytest.mark.skipif(
    shutil.which("bash") is None, reason="bash is not here; install it"
)

COMMANDS = [
    "vllm serve a --x 1",
    "vllm serve a \\\n  --x 1 \\\n  --y 2",
    "vllm serve a \\\n\n  --lost 1",
    "vllm serve a \\ \n  --lost 1",
    "vllm serve a \\\t\n  --lost 1",
    "vllm serve a \\\n  # a comment \\\n  --lost 1",
    "vllm serve a # a comment\n",
    "vllm serve a#b '#c' \\#d",
    "vllm serve 'a b' \"c d\" e\\ f g\\\nh",
    'vllm serve --j \'{"a": {"b": [1, 2]}}\'',
    'vllm serve --j "{\\"a\\": \\"it\'s\\"}" "\\n \\$ \\\\ \\`"',
    "vllm serve '' \"\" a''b",
    "vllm serve a; vllm serve b",
    "vllm serve a && vllm serve b || vllm serve c",
    "vllm serve a > out.txt 2>&1",
    "vllm serve a 2> err.txt --x",
    "vllm serve a 2 > out.txt --x",
    "vllm serve a --x=1>out.txt",
    "vllm serve 'a\nb' --x",
    'vllm serve "a\nb" --x',
    'vllm serve "a\\\nb" --x',
    "vllm serve a \\",
    "vllm serve a \\\n",
    "\n\n  vllm serve a\n\n\nvllm serve b\n",
    "A=1 vllm serve a",
    "vllm serve a\\\n--x",
    "vllm\\\n serve a",
]


def by_bash(text: str, folder: Path) -> list[list[str]]:
    """Return what ``vllm`` is given, each time that bash starts it."""
    stub = folder / "vllm"
    stub.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" -- >> {folder}/calls\n')
    stub.chmod(0o755)
    subprocess.run(
        ["bash", "-c", text],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        check=False,
    )
    calls: list[list[str]] = [[]]
    for word in (folder / "calls").read_text().split("\0")[:-1]:
        if word == "--":
            calls.append([])
        else:
            calls[-1].append(word)
    return calls[:-1]


def by_us(text: str) -> list[list[str]]:
    """Return what ``vllm`` would be given, as we read it."""
    script = read_script(text)
    assert not script.faults
    return [words(c) for c in script.commands if "vllm" in words(c, start=0)[:2]]


def words(command: Command, start: int = 1) -> list[str]:
    texts = [word.text for word in command.words]
    if start and "=" in texts[0]:
        texts.pop(0)
    return texts[start:]


@needs_bash
@pytest.mark.parametrize("text", COMMANDS)
def test_reads_what_bash_gives_to_the_program(text: str, tmp_path: Path) -> None:
    read = by_us(text)

    # `a || b` runs only one of them; every one that runs must be as we read it.
    ran = by_bash(text, tmp_path)
    assert ran
    assert ran == read if "||" not in text else all(call in read for call in ran)


@needs_bash
def test_reads_random_quoting_as_bash_does(tmp_path: Path) -> None:
    dice = random.Random(4)  # noqa: S311 - the same lines every time
    pieces = [
        "a", "b1", "--x", "=", " ", "  ", "'", '"', "\\", "\\\n", "\n", "#", "{", "}",
        "''", "'q q'", '"q q"', "\\ ", ":", ",", "é",
    ]  # fmt: skip
    for number in range(120):
        tail = "".join(dice.choice(pieces) for _ in range(dice.randrange(1, 14)))
        text = f"vllm serve {tail}"
        if read_script(text).faults:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()

        assert by_bash(text, folder) == by_us(text), text


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        pytest.param("vllm a \\\n\n --x", BLANK_LINE, id="blank-line"),
        pytest.param("vllm a \\\n   \n --x", BLANK_LINE, id="line-of-blanks"),
        pytest.param("vllm a \\  \n --x", BLANK_AFTER, id="blank-after"),
        pytest.param("vllm a \\\n # no \\\n --x", COMMENT_LINE, id="comment-line"),
        pytest.param("vllm a\n --x", None, id="no-backslash"),
    ],
)
def test_says_why_a_command_ends_early(text: str, cut: str | None) -> None:
    first = read_script(text).commands[0]

    assert first.cut == cut
    assert first.end == "\n"


def test_knows_the_line_of_every_word() -> None:
    script = read_script("\nvllm a \\\n  --x \\\n  'two\nlines' --y")

    assert [(w.text, w.line) for w in script.commands[0].words] == [
        ("vllm", 2),
        ("a", 2),
        ("--x", 3),
        ("two\nlines", 4),
        ("--y", 5),
    ]


def test_keeps_what_a_shell_would_replace_visible() -> None:
    command = read_script(
        'vllm $A "${B:-${C}}" \'$D\' $(date +%s) `x` "\\$E"'
    ).commands[0]

    assert [(w.text, w.expansions) for w in command.words[1:]] == [
        ("$A", ("$A",)),
        ("${B:-${C}}", ("${B:-${C}}",)),
        ("$D", ()),
        ("$(date +%s)", ("$(date +%s)",)),
        ("`x`", ("`x`",)),
        ("$E", ()),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vllm 'a", "nothing closes"),
        ('vllm "a', "nothing closes"),
        ("vllm `a", "nothing closes"),
        ("vllm ${a", "nothing closes"),
        ("vllm $'a'", "not read"),
        ("vllm <<EOF\nx\nEOF", "here-document"),
    ],
)
def test_says_what_it_cannot_read(text: str, says: str) -> None:
    (fault,) = read_script(text).faults

    assert says in fault.text
    assert fault.line == 1
