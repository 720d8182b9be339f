"""The ready gate: an engine is ready when its answers are right, and not before."""

import math
import re
import time
from pathlib import Path
from typing import Final, NamedTuple

from nvfp4_serve.errors import EngineError, NotRightError
from nvfp4_serve.plan.types import Expect
from nvfp4_serve.ready.client import Unanswered, ask, parse_object
from nvfp4_serve.ready.log import LogReader, read_log
from nvfp4_serve.ready.phases import Phases, find_cause
from nvfp4_serve.ready.types import Say, Watched

#: Seconds between two looks at /health; what a start may lose to the gate.
LOOK: Final = 0.1
#: vLLM's server looks every 5 s whether its engine core has died, and then ends:
#: 0.32.0, ``entrypoints/launchers/launcher.py``, ``watchdog_loop``.
_DYING: Final = 8.0
_PROMPT: Final = "The"
_TOKENS: Final = 8
#: vLLM writes this where a log probability is minus infinity.
_VLLM_MINUS_INFINITY: Final = -9999.0


def wait_until_right(
    engine: Watched,
    expect: Expect,
    canary: tuple[tuple[str, str], ...],
    *,
    seconds: float,
    say: Say,
) -> None:
    """Return once ``engine`` is up and its answers are right.

    Health, one real completion with finite log probabilities, what the log must and
    must not say, then each pair of ``canary`` (a prompt, and the text that must
    follow), in this order.

    Raises:
        EngineError: It ended, or was not up and done within ``seconds``.
        NotRightError: It answers, and not as it must.
    """
    deadline = time.monotonic() + seconds
    _wait_healthy(engine, deadline, seconds, say)
    say("asking it for one completion")
    _check_completion(engine, deadline)
    _check_log(engine.log, expect)
    for prompt, expected in canary:
        say(f"asking the canary {_short(prompt)}")
        _check_canary(engine, prompt, expected, deadline)


def explain_end(engine: Watched, how: str, *, out_of_memory: bool) -> EngineError:
    """Return the error that says how and why ``engine`` ended."""
    cause = find_cause(read_log(engine.log))
    fix = "Read its log; what it says last is not always the cause."
    if out_of_memory:
        fix = (
            "The kernel killed a process to free memory. Take a smaller "
            "`--max-model-len`, stop other programs, or use a machine with more memory."
        )
    return EngineError(
        f"The engine {how}.",
        evidence=(*((cause,) if cause else ()), f"log: `{engine.log}`"),
        fix=fix,
    )


def _wait_healthy(engine: Watched, deadline: float, seconds: float, say: Say) -> None:
    log, phases = LogReader(engine.log), Phases()
    while True:
        for phase in phases.read(log.new_lines()):
            say(phase)
        _check_alive(engine)
        if _is_healthy(engine):
            return
        if time.monotonic() > deadline:
            raise EngineError(
                f"The engine was not ready within {seconds:.0f} s.",
                evidence=(*log.last_lines(3), f"log: `{engine.log}`"),
                fix="Give it more time with `--ready-timeout`, or read its log.",
            )
        time.sleep(LOOK)


def _is_healthy(engine: Watched) -> bool:
    try:
        status, _ = ask(engine, "/health", seconds=5.0)
    except Unanswered:
        return False
    return status == 200


def _check_alive(engine: Watched) -> None:
    if end := engine.ended():
        raise explain_end(engine, end.how, out_of_memory=end.out_of_memory)


def _check_alive_for(engine: Watched, seconds: float) -> None:
    """Check that the engine lives, and still does so some time later."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _check_alive(engine)
        time.sleep(LOOK)


def _check_completion(engine: Watched, deadline: float) -> None:
    # Tokens are counted and not letters: a model that says only special tokens here,
    # or would end at once, is not wrong for that.
    choice = _complete(
        engine,
        {
            "prompt": _PROMPT,
            "max_tokens": _TOKENS,
            "logprobs": 1,
            "ignore_eos": True,
        },
        deadline,
    )
    found = choice.get("logprobs")
    values = found.get("token_logprobs") if isinstance(found, dict) else None
    if not isinstance(values, list) or not values:
        raise _not_right("Its first completion is empty.", (f"came: {choice}"[:300],))
    if not all(_is_sound(value) for value in values):
        text = str(choice.get("text"))
        raise _not_right(
            "Its first completion has log probabilities that are no numbers.",
            (f"prompt: {_PROMPT!r}", f"text: {_short(text)}", f"came: {values}"),
        )


def _is_sound(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and math.isfinite(value)
        and value > _VLLM_MINUS_INFINITY
    )


def _check_log(log: Path, expect: Expect) -> None:
    missing = {pattern: re.compile(pattern) for pattern in expect.log_must}
    forbidden = [re.compile(pattern) for pattern in expect.log_must_not]
    faults = []
    for line in read_log(log):
        missing = {k: v for k, v in missing.items() if not v.search(line)}
        faults += [f"must not: {line[:300]}" for p in forbidden if p.search(line)]
    faults += [f"missing: {pattern}" for pattern in missing]
    if faults:
        raise _not_right(
            "Its log does not say what the plan expects.",
            (*faults[:8], f"log: `{log}`"),
        )


def _check_canary(engine: Watched, prompt: str, expected: str, deadline: float) -> None:
    choice = _complete(
        engine,
        {"prompt": prompt, "max_tokens": _tokens_for(engine, prompt, expected)},
        deadline,
    )
    came = choice.get("text")
    if not isinstance(came, str):
        raise _not_right(
            "It answers a canary with no text.", (f"came: {choice}"[:300],)
        )
    if not came.startswith(expected):
        at = _first_difference(expected, came)
        raise _not_right(
            f"It answers a canary wrong, from character {at + 1} on.",
            (
                f"prompt:   {_short(prompt)}",
                f"expected: {_around(expected, at)}",
                f"came:     {_around(came, at)}",
            ),
        )


def _tokens_for(engine: Watched, prompt: str, expected: str) -> int:
    """Return how many tokens ``expected`` takes after ``prompt``, and a few more.

    The few are for a tokenizer that joins letters differently across the border. A
    server that cannot count gets the safe bound: no token is less than a byte.
    """
    before = _count(engine, prompt)
    both = _count(engine, prompt + expected)
    if before is None or both is None:
        return len(expected.encode())
    return max(1, min(both.tokens - before.tokens + 4, before.limit - before.tokens))


class _Count(NamedTuple):
    tokens: int
    limit: int  # max-model-len


def _count(engine: Watched, text: str) -> _Count | None:
    question = {"model": engine.model, "prompt": text}
    try:
        status, content = ask(engine, "/tokenize", question, seconds=30.0)
    except Unanswered:
        return None
    answer = parse_object(content) if status == 200 else None
    match answer:
        case {"count": int(tokens), "max_model_len": int(limit)}:
            return _Count(tokens, limit)
        case _:
            return None


def _complete(
    engine: Watched, body: dict[str, object], deadline: float
) -> dict[str, object]:
    """Return the first choice of a greedy completion."""
    question = {"model": engine.model, "temperature": 0, "seed": 0} | body
    seconds = deadline - time.monotonic()
    try:
        status, content = ask(engine, "/v1/completions", question, seconds=seconds)
    except Unanswered as error:
        # A process that dies closes its connections a moment before it has ended.
        _check_alive_for(engine, min(2.0, deadline - time.monotonic()))
        raise EngineError(
            f"The engine listens, and does not complete a prompt: {error}.",
            evidence=(f"log: `{engine.log}`",),
            fix="Give it more time with `--ready-timeout`, or read its log.",
        ) from error
    answer = parse_object(content)
    choices = answer.get("choices") if answer else None
    if status != 200 or not isinstance(choices, list) or not choices:
        if status >= 500:
            _check_alive_for(engine, _DYING)
        said = content[:300].decode(errors="replace")
        raise _not_right(
            f"It answers a completion with status {status}.",
            (f"came: {said}", f"log: `{engine.log}`"),
        )
    choice = choices[0]
    return choice if isinstance(choice, dict) else {}


def _not_right(what: str, evidence: tuple[str, ...]) -> NotRightError:
    return NotRightError(
        f"The engine started, and is not right. {what}",
        evidence=evidence,
        fix="Do not use its answers. `nvfp4-serve inspect` says what is known of the "
        "checkpoint, and `nvfp4-serve engine status` of the engine.",
    )


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next(
        (at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other))
    )


def _around(text: str, at: int) -> str:
    start = max(0, at - 30)
    return ("…" if start else "") + _short(text[start:], 60)


def _short(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else f"{text[:length]}…")
