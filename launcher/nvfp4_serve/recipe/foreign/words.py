"""Shell text -> words, as bash reads it; nothing is run and nothing is expanded.

Python's `shlex` knows neither the end of a command nor the line of a word, and it
takes a backslash in front of an empty line for nothing. Bash ends the command there,
and the flags below it are lost. So this follows POSIX.1-2024, Shell Command
Language, sections 2.2 (quoting) and 2.3 (tokens); a test holds it against bash.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Word:
    """One word, after the quotes are taken away.

    Attributes:
        text: What the program would get; an expansion stands as it was written.
        line: Where it begins; the first line is 1.
        expansions: ``$NAME``, ``$(command)`` and what else a shell would replace.
    """

    text: str
    line: int
    expansions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command: its words, and what ended it.

    Attributes:
        end: The newline, ``;``, ``|``, ``&&`` ... that ended it; empty at the end.
        end_line: The line where it ended.
        cut: Why the newline that ended it was probably not meant to, or None.
    """

    words: tuple[Word, ...]
    end: str
    end_line: int
    cut: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that this cannot read, and its line."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """All simple commands of a text, in order."""

    commands: tuple[Command, ...]
    faults: tuple[Fault, ...]


BLANK_LINE: Final = "a blank line after a backslash"
COMMENT_LINE: Final = "a comment line after a backslash"
BLANK_AFTER: Final = "a blank after the backslash"

_OPERATOR: Final = re.compile(r"\|\||&&|;;|\|&|>>|<<|<&|>&|&>|[|&;<>()]")
_EXPANSION: Final = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])")
_BLANKS: Final = " \t\r"


def read_script(text: str) -> Script:
    """Return the simple commands of ``text``."""
    reader = _Reader(text)
    reader.read()
    return Script(tuple(reader.commands), tuple(reader.faults))


class _Reader:
    """Reads the text once, from the front."""

    def __init__(self, text: str) -> None:
        # A carriage return in front of a newline is an editor's; bash would keep it.
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line = 1
        self._words: list[Word] = []
        self._word: list[str] | None = None
        self._word_line = 1
        self._expansions: list[str] = []
        self._continued_at = 0
        self._is_blank_line = True
        self._saw_comment = False
        self._trailing_blank = 0
        self.commands: list[Command] = []
        self.faults: list[Fault] = []

    def read(self) -> None:
        while self._at < len(self._text):
            self._step(self._text[self._at])
        self._end_command("")

    def _step(self, char: str) -> None:
        if char == "\\":
            self._backslash()
        elif char == "'":
            self._single_quotes()
        elif char == '"':
            self._double_quotes()
        elif char == "`" or self._text.startswith("$(", self._at):
            self._substitution()
        elif char == "$":
            self._dollar()
        elif char == "\n":
            self._newline()
        elif char in _BLANKS:
            self._end_word()
            self._at += 1
        elif char == "#" and self._word is None:
            self._saw_comment = True
            self._at = self._until_newline()
        elif operator := _OPERATOR.match(self._text, self._at):
            self._operator(operator.group())
        else:
            self._add(char)
            self._at += 1

    def _add(self, text: str) -> None:
        if self._word is None:
            self._word, self._word_line = [], self._line
        self._word.append(text)
        self._is_blank_line = False

    def _end_word(self) -> None:
        if self._word is not None:
            self._words.append(
                Word("".join(self._word), self._word_line, tuple(self._expansions))
            )
        self._word, self._expansions = None, []

    def _end_command(self, end: str, cut: str | None = None) -> None:
        self._end_word()
        if self._words:
            self.commands.append(Command(tuple(self._words), end, self._line, cut))
        self._words = []

    def _until_newline(self) -> int:
        found = self._text.find("\n", self._at)
        return len(self._text) if found < 0 else found

    def _newline(self) -> None:
        cut = None
        if self._trailing_blank == self._line:
            cut = BLANK_AFTER
        elif self._continued_at == self._line and self._is_blank_line:
            cut = COMMENT_LINE if self._saw_comment else BLANK_LINE
        self._end_command("\n", cut)
        self._next_line()

    def _next_line(self) -> None:
        self._at += 1
        self._line += 1
        self._is_blank_line = True
        self._saw_comment = False

    def _backslash(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if following == "\n":
            self._at += 1
            self._next_line()
            self._continued_at = self._line
        else:
            rest = self._text[self._at + 2 : self._until_newline()]
            if following and following in _BLANKS and not rest.strip(_BLANKS):
                self._trailing_blank = self._line
            # At the very end, bash takes a backslash for itself.
            self._add(following or "\\")
            self._at += 2

    def _single_quotes(self) -> None:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._unfinished("'")
            return
        inside = self._text[self._at + 1 : end]
        self._add(inside)
        self._line += inside.count("\n")
        self._at = end + 1

    def _double_quotes(self) -> None:
        start = self._line
        self._add("")
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return
            self._in_double_quotes(char)
        self._line = start
        self._unfinished('"')

    def _in_double_quotes(self, char: str) -> None:
        if char == "\\" and (following := self._text[self._at + 1 : self._at + 2]):
            self._line += following == "\n"
            kept = following if following in '$`"\\' else f"\\{following}"
            self._add("" if following == "\n" else kept)
            self._at += 2
        elif char == "`" or self._text.startswith("$(", self._at):
            self._substitution()
        elif char == "$":
            self._dollar()
        else:
            self._line += char == "\n"
            self._add(char)
            self._at += 1

    def _unfinished(self, quote: str) -> None:
        self.faults.append(Fault(self._line, f"a {quote} that nothing closes"))
        self._at = len(self._text)

    def _dollar(self) -> None:
        if found := _EXPANSION.match(self._text, self._at):
            self._expand(found.group())
        elif self._text.startswith("${", self._at):
            self._braces()
        elif self._text.startswith("$'", self._at):
            self.faults.append(Fault(self._line, "$'...' is not read"))
            self._at = len(self._text)
        else:
            self._add("$")
            self._at += 1

    def _expand(self, text: str) -> None:
        self._add(text)
        self._expansions.append(text)
        self._at += len(text)

    def _braces(self) -> None:
        """Take over ``${...}``, with what is nested in it."""
        end = self._closing("{", "}")
        if end is None:
            self._unfinished("${")
            return
        self._expand(self._text[self._at : end])

    def _closing(self, opening: str, closing: str) -> int | None:
        """Return where the bracket after the dollar is closed, or None: nowhere."""
        depth = 0
        for index in range(self._at + 1, len(self._text)):
            depth += {opening: 1, closing: -1}.get(self._text[index], 0)
            if depth == 0:
                return index + 1
        return None

    def _substitution(self) -> None:
        """Take over ``$(...)`` or a pair of backquotes, unread."""
        line = self._line
        end = self._end_of_substitution()
        if end is None:
            self._unfinished(self._text[self._at])
            return
        text = self._text[self._at : end]
        self._expand(text)
        self._line = line + text.count("\n")

    def _end_of_substitution(self) -> int | None:
        if self._text[self._at] == "`":
            end = self._text.find("`", self._at + 1)
            return None if end < 0 else end + 1
        return self._closing("(", ")")

    def _operator(self, operator: str) -> None:
        if operator[0] in "<>" or operator == "&>":
            # `2>` : the number belongs to the redirection, not to the command.
            if self._word and "".join(self._word).isdigit():
                self._word = None
            self._end_word()
            self._at += len(operator)
            self._redirection(operator)
            return
        self._end_command(operator)
        self._at += len(operator)
        self._is_blank_line = False

    def _redirection(self, operator: str) -> None:
        """Leave out the file of a redirection; a here-document is not read."""
        if operator == "<<":
            self.faults.append(Fault(self._line, "a here-document is not read"))
            self._at = len(self._text)
            return
        words, self._words = self._words, []
        while self._at < len(self._text) and self._text[self._at] in _BLANKS:
            self._at += 1
        while self._at < len(self._text) and not self._is_end_of_word():
            self._step(self._text[self._at])
        self._word, self._expansions = None, []
        self._words = words

    def _is_end_of_word(self) -> bool:
        char = self._text[self._at]
        return char in " \t\r\n" or bool(_OPERATOR.match(self._text, self._at))
