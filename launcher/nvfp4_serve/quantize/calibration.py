"""The calibration file -> samples. The worker loads it, so: standard library only."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

#: Of transformers; what checks our types does not see it.
Theirs: TypeAlias = Any
Order = dict[str, Any]
#: The line that it stands in, and what it says.
Entry = tuple[int, Any]

_SHAPES = 'Each line is a string, {"text": …} or {"messages": […]}.'


class RefusedError(Exception):
    """The order cannot be carried out; the user can do something about it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


def read_calibration(order: Order) -> str | list[Entry]:
    """Return the text, or the entries of JSON lines; no tokenizer is asked yet.

    Raises:
        RefusedError: Says which line is wrong.
    """
    path = Path(order["calibration"])
    text = _decoded(path)
    if path.suffix != ".jsonl":
        return text.replace("\r\n", "\n").replace("\r", "\n")
    # Not `splitlines`: a JSON string may hold U+2028, U+2029 and U+0085 as they are.
    lines = (line.strip(" \t\r") for line in text.split("\n"))
    return [(at, _entry(path, at, line)) for at, line in enumerate(lines, 1) if line]


def make_samples(
    read: str | list[Entry], tokenizer: Theirs, order: Order
) -> list[list[int]]:
    """Return the tokens of each sample: of an entry, or of even pieces of a text.

    Raises:
        RefusedError: There is none, or an entry does not fit the chat template.
    """
    if isinstance(read, str):
        found = _pieces(tokenizer(read)["input_ids"], order)
    else:
        found = _of_entries(read, tokenizer, order)
    samples = list(itertools.islice(filter(None, found), order["calib_samples"]))
    if not samples:
        raise RefusedError(
            f"`{order['calibration']}` holds no text to calibrate with.",
            fix="Give a text file, or JSON lines that have a `text` each.",
        )
    return samples


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RefusedError(
            f"The calibration file `{path}` cannot be read: {error.strerror}.",
            fix="Give a file that can be read.",
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RefusedError(
            f"The calibration file `{path}` is not UTF-8: line {line} has the byte "
            f"{data[error.start]:#04x}.",
            fix="Write it in UTF-8; `iconv -f latin1 -t utf8` does, where it is Latin.",
        ) from error


def _entry(path: Path, line: int, text: str) -> Theirs:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            f"Line {line} of the calibration file `{path}` is no JSON ({error}): "
            f"{text[:80]!r}.",
            fix=f"Mend or remove that line. {_SHAPES}",
        ) from error
    match entry:
        case str() | {"text": str()} | {"messages": list()}:
            return entry
        case _:
            raise RefusedError(
                f"Line {line} of the calibration file `{path}` has no text: "
                f"{text[:80]!r}.",
                fix=f"Mend or remove that line. {_SHAPES}",
            )


def _pieces(tokens: list[int], order: Order) -> Iterator[list[int]]:
    """Yield pieces that are spread over the text, not its beginning alone."""
    length = order["calib_length"]
    starts = range(0, len(tokens), length)
    count = min(order["calib_samples"], len(starts))
    for index in range(count):
        start = starts[index * len(starts) // count]
        yield tokens[start : start + length]


def _of_entries(
    entries: list[Entry], tokenizer: Theirs, order: Order
) -> Iterator[list[int]]:
    for line, entry in entries:
        text = _text_of(line, entry, tokenizer, order)
        yield tokenizer(text)["input_ids"][: order["calib_length"]]


def _text_of(line: int, entry: Theirs, tokenizer: Theirs, order: Order) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry.get("text"), str):
        return str(entry["text"])
    try:
        return str(tokenizer.apply_chat_template(entry["messages"], tokenize=False))
    except Exception as error:  # A template raises what it likes.
        raise RefusedError(
            f"The messages in line {line} of the calibration file "
            f"`{order['calibration']}` do not fit the model's chat template: {error}",
            fix='Mend or remove that line, or give it as {"text": …}.',
        ) from error
