"""What an engine's log lines say: phases of a start, and why it ended. Pure text."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

#: ``(EngineCore pid=12) INFO 11-21 02:30:00 [core.py:134] ...``: who, then when.
_PREFIX: Final = re.compile(
    r"^(?:\((?P<who>[^)]*?) pid=\d+\) )?"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) "
    r"\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[[^\]]*\] ?)?"
)
#: The last line of a traceback: the name of an exception at the margin.
_EXCEPTION: Final = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Failure)(?::|$)"
)
#: What is said of a failure further down: never the cause.
_WRAPPER: Final = re.compile(
    r"Engine core initialization failed|EngineDeadError|RuntimeError: Executor failed"
)
#: A process below was killed from outside; it could not say anything itself.
_DIED: Final = re.compile(r"died unexpectedly")
#: A server that refuses its arguments says ``vllm serve: error: ...``.
_REFUSED: Final = re.compile(r"\berror: ")

# vLLM 0.32.0's words, in the order in which a start says them.
_PHASES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"Resolved architecture: (\S+)"), r"the architecture is \1"),
    (re.compile(r"Initializing a V1 LLM engine"), "the engine core has started"),
    (re.compile(r"Starting to load model"), "loading weights"),
    (re.compile(r"Loading weights took ([\d.]+) seconds"), r"weights read in \1 s"),
    (re.compile(r"Model loading took"), "the model is built"),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), r"KV cache for \1 tokens"),
    (re.compile(r"Graph capturing finished"), "graphs captured"),
    (re.compile(r"init engine .* took ([\d.]+) s"), r"the engine is warm (\1 s)"),
    (re.compile(r"Application startup complete"), "the server answers"),
)


class Phases:
    """Names each phase of a start once, at the first line that shows it."""

    def __init__(self) -> None:
        self._unseen = list(_PHASES)

    def read(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the phases that ``lines`` show for the first time."""
        for line in lines:
            for entry in self._unseen:
                pattern, words = entry
                if found := pattern.search(line):
                    self._unseen.remove(entry)
                    yield found.expand(words)
                    break


def find_cause(lines: Iterable[str]) -> str | None:
    """Return the line that says why an engine ended, without its prefix.

    The first exception that ended the engine core or a worker, or the note that one
    was killed, comes before what the API server says of it. Where a server alone
    failed, its own first exception is the cause; then the first line of level ERROR;
    then what wraps a cause that nobody wrote down. A log may well hold none of them.
    """
    found: dict[int, str] = {}
    for line in lines:
        if ranked := _rank(line):
            found.setdefault(*ranked)
    return found[min(found)] if found else None


def _rank(line: str) -> tuple[int, str] | None:
    """Return how good a cause ``line`` is (0 is best) and its text; None: no cause."""
    prefix = _PREFIX.match(line)
    if prefix is None:
        raise AssertionError("every part of the prefix is optional")
    text = line[prefix.end() :].rstrip()
    is_below = (prefix["who"] or "").startswith(("EngineCore", "Worker"))
    if _WRAPPER.search(text):
        return 3, text
    if _DIED.search(text):
        return 0, text
    if _EXCEPTION.match(text):
        return (0 if is_below else 1), text
    if prefix["level"] in {"ERROR", "CRITICAL"} or _REFUSED.search(text):
        return 2, text
    return None
