"""A patch file: its header, its hunks, and how they apply. Pure; no files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patching.error import PatchError

FIELDS = (
    "Description",
    "Origin",
    "Bug",
    "Forwarded",
    "Last-Update",
    "Applies-To",
    "Removed-In",
    "Test",
)
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_RULE = "Make the patch again from the pristine file: `diff -u a/FILE b/FILE`."


@dataclass(frozen=True)
class Hunk:
    """Lines that are there, and the lines to be there instead; ends included."""

    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class FileChange:
    """The hunks for one file; a file that is added has one hunk with no old lines."""

    path: str
    is_added: bool
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True)
class Patch:
    """One patch file, read.

    Attributes:
        name: Its file name without ``.patch``.
        header: Its fields; a continued field keeps its line ends.
        changes: What it does, a file at a time.
    """

    name: str
    header: dict[str, str]
    changes: tuple[FileChange, ...]


def read_patch(name: str, text: str) -> Patch:
    """Return what the text of a patch file says.

    Raises:
        PatchError: It is not a header followed by a unified diff.
    """
    lines = text.splitlines(keepends=True)
    start = next((at for at, line in enumerate(lines) if line[:4] == "--- "), None)
    if start is None:
        raise PatchError(f"{name}.patch holds no unified diff.", fix=_RULE)
    head = [line for line in lines[:start] if not line.startswith(("diff ", "index "))]
    return Patch(name, _header(name, head), tuple(_changes(name, lines[start:])))


def _header(name: str, lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        key, colon, value = line.partition(":")
        if line[:1] in {" ", "\t"} and last:
            fields[last] += "\n" + line.strip()
        elif colon and key in FIELDS and key not in fields:
            last = key
            fields[key] = value.strip()
        elif line.strip():
            raise PatchError(
                f"{name}.patch: the header has a line that is no field, or one twice.",
                evidence=(line.rstrip(),),
                fix=f"The fields are {', '.join(FIELDS)}, each once; "
                "a continued line begins with a space.",
            )
    return fields


def _changes(name: str, lines: list[str]) -> list[FileChange]:
    changes = []
    at = 0
    while at < len(lines):
        if lines[at].startswith(("diff ", "index ", "new file mode ")):
            at += 1
            continue
        if lines[at][:4] != "--- " or lines[at + 1 : at + 2][0][:4] != "+++ ":
            raise PatchError(
                f"{name}.patch: expected a file's `---` and `+++` lines.",
                evidence=(lines[at].rstrip(),),
                fix=_RULE,
            )
        is_added = lines[at][4:].split() == ["/dev/null"]
        path = _path(name, lines[at + 1])
        hunks, at = _hunks(name, lines, at + 2)
        changes.append(FileChange(path, is_added, tuple(hunks)))
    return changes


def _path(name: str, line: str) -> str:
    path = line[4:].split(maxsplit=1)[0]
    parts = path.split("/")
    if parts[0] != "b" or len(parts) < 2 or set(parts[1:]) & {"", ".", ".."}:
        raise PatchError(
            f"{name}.patch: `{path}` is not a path inside the tree.",
            fix="Name files as `b/vllm/…`; a patch cannot remove a file.",
        )
    return "/".join(parts[1:])


def _hunks(name: str, lines: list[str], at: int) -> tuple[list[Hunk], int]:
    hunks: list[Hunk] = []
    while at < len(lines) and (counts := _HUNK.match(lines[at])):
        wanted = [1 if count is None else int(count) for count in counts.groups()]
        old: list[str] = []
        new: list[str] = []
        at += 1
        while at < len(lines) and [len(old), len(new)] != wanted:
            mark, body = lines[at][:1], lines[at][1:]
            if mark not in {" ", "-", "+"}:
                break
            if mark != "+":
                old.append(body)
            if mark != "-":
                new.append(body)
            at += 1
            if lines[at : at + 1] and lines[at].startswith("\\"):
                for side in (old if mark != "+" else []), (new if mark != "-" else []):
                    if side:
                        side[-1] = side[-1].rstrip("\n")
                at += 1
        if [len(old), len(new)] != wanted:
            raise PatchError(
                f"{name}.patch: hunk {len(hunks) + 1} is cut short.", fix=_RULE
            )
        hunks.append(Hunk(tuple(old), tuple(new)))
    if not hunks:
        raise PatchError(f"{name}.patch: a file without a hunk.", fix=_RULE)
    return hunks, at


def changed_text(patch: str, change: FileChange, text: str | None) -> str:
    """Return the text of a file after ``change``.

    The rule: the old text of each hunk occurs in the file exactly once. No line
    numbers, no fuzz; a hunk that changes nothing is refused.

    Args:
        patch: The patch's name, for the message.
        change: What to do.
        text: The file's text, or None where there is no such file.

    Raises:
        PatchError: The rule does not hold.
    """
    if change.is_added != (text is None):
        word = "adds a file that is there" if change.is_added else "needs a file"
        raise PatchError(
            f"{patch}.patch {word}: {change.path}.", fix="Check the version of vLLM."
        )
    lines = [] if text is None else text.splitlines(keepends=True)
    for number, hunk in enumerate(change.hunks, start=1):
        where = f"{patch}.patch: hunk {number} of {change.path}"
        if hunk.old == hunk.new:
            raise PatchError(f"{where} changes nothing.", fix="Drop the hunk.")
        lines = list(hunk.new) if change.is_added else _replaced(where, lines, hunk)
    return "".join(lines)


def _replaced(where: str, lines: list[str], hunk: Hunk) -> list[str]:
    size = len(hunk.old)
    found = [
        at
        for at in range(len(lines) - size + 1)
        if size and tuple(lines[at : at + size]) == hunk.old
    ]
    if len(found) != 1:
        raise PatchError(
            f"{where}: its old text occurs {len(found)} times, not once.",
            evidence=tuple(f"old: {line.rstrip()}" for line in hunk.old[:3]),
            fix="Make the patch from this very version; give a hunk enough context "
            "to be the only one of its kind.",
        )
    return [*lines[: found[0]], *hunk.new, *lines[found[0] + size :]]
