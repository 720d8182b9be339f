"""The quantizer's answers, a JSON line each -> what it did, said while it does it."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from nvfp4_serve.errors import QuantizeError
from nvfp4_serve.quantize.types import Answered, Meant

Say = Callable[[str], None]

#: What we speak; the worker says it first.
PROTOCOL: Final = 1
#: Seconds between two words on how far it is.
_OFTEN: Final = 5.0


def listen(lines: Iterable[str], say: Say, *, log: str) -> Answered:
    """Return what the quantizer did, once it says that it is done.

    Args:
        lines: What it says.
        say: Takes its phases and how far it is.
        log: Where all else stands that it wrote; for the error.

    Raises:
        QuantizeError: It failed, or ended without a last word.
    """
    listener = _Listener(say)
    for line in lines:
        fact = _fact(line)
        match fact["event"]:
            case "done" if listener.meant is not None:
                return Answered(listener.meant, listener.left_out)
            case "failed":
                raise QuantizeError(
                    f"Quantizing failed: {fact['problem']}",
                    evidence=(f"its log is `{log}`",),
                    fix=fact["fix"]
                    or "Read the log; where ModelOpt is at fault, report it there.",
                )
            case _:
                listener.take(fact)
    raise QuantizeError(
        "The quantizer ended without a word; something killed it.",
        evidence=(f"its log is `{log}`",),
        fix="The kernel kills for lack of memory: `dmesg` tells. Else read the log.",
    )


class _Listener:
    def __init__(self, say: Say) -> None:
        self.meant: tuple[Meant, ...] | None = None
        self.left_out: tuple[str, ...] = ()
        self._say = say
        self._started = time.monotonic()
        self._said = self._started

    def take(self, fact: Mapping[str, Any]) -> None:
        match fact["event"]:
            case "hello" if fact["protocol"] == PROTOCOL:
                pass
            case "phase":
                self._tell(str(fact["name"]))
            case "progress":
                self._progress(fact["what"], fact["done"], fact["total"])
            case "calibration":
                self._tell(f"{fact['samples']} samples of {fact['tokens']} tokens")
            case "left_out":
                self.left_out = tuple(fact["tensors"])
            case "meant":
                named = ((str(m["name"]), bool(m["inputs"])) for m in fact["modules"])
                self.meant = tuple(Meant(name, inputs) for name, inputs in named)
            case _:
                raise _not_ours(json.dumps(fact))

    def _progress(self, what: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._said >= _OFTEN:
            self._tell(f"{what} {done}/{total}")

    def _tell(self, words: str) -> None:
        self._said = time.monotonic()
        self._say(f"  {self._said - self._started:6.1f} s  {words}")


def _fact(line: str) -> Mapping[str, Any]:
    try:
        fact = json.loads(line)
        fact["event"]
    except (ValueError, TypeError, KeyError) as error:
        raise _not_ours(line) from error
    return dict(fact)


def _not_ours(line: str) -> QuantizeError:
    return QuantizeError(
        f"The quantizer said what nobody understands: {line.strip()[:200]}.",
        fix="Install nvfp4-serve again; if it stays so, report it as a bug.",
    )
