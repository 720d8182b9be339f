"""The bench: what the engine answers, what it should answer, and how far apart.

An answer is judged on a known text (teacher-forced), so that one flipped token
does not carry the rest away, and on its greedy tokens where the reference is sure.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np

from twins.nvfp4_arithmetic import Floats

_WORKER: Final = Path(__file__).parent / "engine_worker.py"
Tokens = tuple[int, ...]
#: Token to log-probability, for the few likeliest tokens (and the one that came).
TopLogprobs = Mapping[int, float]


class LoadError(Exception):
    """The engine refused a checkpoint, or died of it. The message is the engine's."""


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What the engine made of one prompt.

    Attributes:
        prompt: The tokens it was given.
        tokens: What it added, greedily.
        text: The same as text, where it was asked with text; special tokens left out.
        top_logprobs: One entry for each of ``tokens``.
        prompt_logprobs: One entry for each token of ``prompt`` but the first.
    """

    prompt: Tokens
    tokens: Tokens
    text: str
    top_logprobs: tuple[TopLogprobs, ...]
    prompt_logprobs: tuple[TopLogprobs, ...]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a right engine may be from the reference, in nats.

    Attributes:
        mean: Of |difference| over all compared log-probabilities.
        worst: Of any one of them, where the reference chose its experts clearly.
        routing: Experts that lead by less (in router log-odds) may be chosen
            otherwise in bfloat16; such positions count for the mean alone.
    """

    mean: float
    worst: float
    routing: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reference makes of a text of T tokens.

    Attributes:
        logprobs: [T, vocabulary]; row t judges what follows token t.
        routing_lead: [T]; by how much the last chosen expert leads the first one
            left out, the least over all layers; infinite without experts.
    """

    logprobs: Floats
    routing_lead: Floats


class Reference(Protocol):
    """Anything that can say what the right answer is."""

    def judge(self, tokens: Tokens) -> Judgement:
        """Return what a right model says at each token of a text."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """How an answer compares.

    Attributes:
        mean: Mean |difference|, nats.
        worst: Largest |difference| where routing was clear, nats.
        wrong_tokens: Greedy tokens that differ although the reference was sure.
        compared: Log-probabilities compared.
        unclear: Share of positions whose routing was too close to call.
        broken: The measures out of tolerance: ``mean``, ``worst``, ``greedy``.
    """

    mean: float
    worst: float
    wrong_tokens: int
    compared: int
    unclear: float
    broken: frozenset[str]


class Bench:
    """An engine that loads one checkpoint after another in one process.

    Use it as a context manager; leaving ends the process.
    """

    def __init__(self, python: Path, log: Path) -> None:
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [python, _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(
        self,
        folder: Path,
        prompts: Sequence[Tokens] | Sequence[str],
        *,
        max_tokens: int = 8,
        top: int = 5,
        options: Mapping[str, object] | None = None,
    ) -> tuple[EngineAnswer, ...]:
        """Load ``folder``, answer every prompt greedily, unload.

        Args:
            folder: A checkpoint; it needs a tokenizer only for prompts of text.
            prompts: Token ids, or text.
            max_tokens: How many to add to each.
            top: How many log-probabilities to report at each position.
            options: vLLM's own arguments of ``LLM``.

        Raises:
            LoadError: The engine refused it.
        """
        request = {
            "model": str(folder),
            "prompts": prompts,
            "max_tokens": max_tokens,
            "top": top,
            "options": dict(options or {}),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        received = self._receive()
        if "error" in received:
            raise LoadError(f"{received['error']}\n{received['traceback']}")
        return tuple(_engine_answer(answer) for answer in received["answers"])

    def _receive(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = "\n".join(self._log.read_text().splitlines()[-40:])
            raise LoadError(f"the engine died ({self._process.wait()}):\n{tail}")
        received: Mapping[str, Any] = json.loads(line)
        return received


def _engine_answer(raw: Mapping[str, Any]) -> EngineAnswer:
    def numbered(entries: list[dict[str, float]]) -> tuple[TopLogprobs, ...]:
        return tuple({int(t): lp for t, lp in entry.items()} for entry in entries)

    return EngineAnswer(
        prompt=tuple(raw["prompt"]),
        tokens=tuple(raw["tokens"]),
        text=raw["text"],
        top_logprobs=numbered(raw["top_logprobs"]),
        prompt_logprobs=numbered(raw["prompt_logprobs"]),
    )


def compare(
    answers: Sequence[EngineAnswer], reference: Reference, tolerance: Tolerance
) -> Report:
    """Hold the engine's answers against the reference's."""
    errors: list[float] = []
    clear_errors: list[float] = [0.0]
    clear: list[bool] = []
    wrong_tokens = 0
    for answer in answers:
        judgement = reference.judge(answer.prompt + answer.tokens)
        said = answer.prompt_logprobs + answer.top_logprobs
        for position, tops in enumerate(said):
            right = judgement.logprobs[position]
            differences = [abs(lp - float(right[t])) for t, lp in tops.items()]
            errors += differences
            clear.append(bool(judgement.routing_lead[position] > tolerance.routing))
            if clear[-1]:
                clear_errors += differences
        sure = _sure_tokens(answer, judgement, tolerance)
        wrong_tokens += sum(token != right for token, right in sure)
    mean, worst = float(np.mean(errors)), max(clear_errors)
    broken = {
        # Written so that a NaN breaks it.
        "mean": not mean <= tolerance.mean,
        "worst": not worst <= tolerance.worst,
        "greedy": wrong_tokens > 0,
    }
    return Report(
        mean=mean,
        worst=worst,
        wrong_tokens=wrong_tokens,
        compared=len(errors),
        unclear=1 - float(np.mean(clear)),
        broken=frozenset(name for name, is_broken in broken.items() if is_broken),
    )


def _sure_tokens(
    answer: EngineAnswer, judgement: Judgement, tolerance: Tolerance
) -> Iterator[tuple[int, int]]:
    """Yield (the engine's token, the right one) where there is no doubt.

    No doubt: the likeliest token leads by more than two right engines may differ,
    and routing was clear.
    """
    start = len(answer.prompt) - 1
    for position, token in enumerate(answer.tokens, start):
        second, first = np.sort(judgement.logprobs[position])[-2:]
        is_clear = judgement.routing_lead[position] > tolerance.routing
        if is_clear and first - second > 2 * tolerance.worst:
            yield token, int(judgement.logprobs[position].argmax())
