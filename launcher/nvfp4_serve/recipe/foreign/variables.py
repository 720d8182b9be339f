"""Shell variables whose values the text itself gives. Pure."""

import re
from dataclasses import replace

from nvfp4_serve.recipe.foreign.words import Command, Word


def expand(command: Command, variables: dict[str, str]) -> Command:
    """Return ``command`` with the variables whose values the text itself gives.

    A value that a shell would split or match against files is left as it is written.
    """
    words = tuple(_expanded(word, variables) for word in command.words)
    return replace(command, words=words)


def _expanded(word: Word, variables: dict[str, str]) -> Word:
    text, left = word.text, []
    for expansion in word.expansions:
        value = variables.get(expansion.strip("${}"))
        # Single quotes may keep the same letters from being an expansion.
        is_sure = text.count(expansion) == word.expansions.count(expansion)
        if value is None or not is_sure or re.search(r"[\s*?\[$`]", value):
            left.append(expansion)
        else:
            text = text.replace(expansion, value, 1)
    return Word(text, word.line, tuple(left))
