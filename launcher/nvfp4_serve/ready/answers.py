"""Asks an engine questions whose answers are known, as far as its context goes."""

import math
import time
from typing import Final, NamedTuple

from nvfp4_serve.errors import EngineError, NotRightError
from nvfp4_serve.ready.client import Unanswered, ask, parse_object
from nvfp4_serve.ready.ending import check_alive_for
from nvfp4_serve.ready.types import Say, Watched

#: vLLM's server looks every 5 s whether its engine core has died, and then ends:
#: 0.32.0, ``entrypoints/launchers/launcher.py``, ``watchdog_loop``.
_DYING: Final = 8.0
_PROMPT: Final = "The"
_TOKENS: Final = 8
#: vLLM writes this where a log probability is minus infinity.
_VLLM_MINUS_INFINITY: Final = -9999.0
#: Tokens that one character may take: its bytes in UTF-8. vLLM withholds a part of one.
_CHARACTER: Final = 4
#: Tokens asked for beyond a canary's own, for a tokenizer that joins letters
#: differently across the border of prompt and answer.
_SPARE: Final = 4


def check_completion(engine: Watched, deadline: float) -> None:
    """Check that a short completion comes, with log probabilities that are numbers.

    Tokens are counted and not letters: a model that says only special tokens here, or
    would end at once, is not wrong for that.

    Raises:
        EngineError: The engine ended, took too long, or has no room for an answer.
        NotRightError: Something else came.
    """
    question = {
        "prompt": _PROMPT,
        "max_tokens": _tokens_for_first(engine),
        "logprobs": 1,
        "ignore_eos": True,
    }
    choice = _complete(engine, question, deadline)
    found = choice.get("logprobs")
    values = found.get("token_logprobs") if isinstance(found, dict) else None
    if not isinstance(values, list) or not values:
        raise not_right("Its first completion is empty.", (f"came: {choice}"[:300],))
    if not all(_is_sound(value) for value in values):
        text = str(choice.get("text"))
        raise not_right(
            "Its first completion has log probabilities that are no numbers.",
            (f"prompt: {_PROMPT!r}", f"text: {_short(text)}", f"came: {values}"),
        )


def _is_sound(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and math.isfinite(value)
        and value > _VLLM_MINUS_INFINITY
    )


def check_canary(
    engine: Watched, prompt: str, expected: str, deadline: float, say: Say
) -> None:
    """Check that ``expected`` follows ``prompt``, or what the context holds of it.

    Raises:
        EngineError: The engine ended, or took too long.
        NotRightError: Something else follows.
    """
    room = _room_for(engine, prompt, expected)
    if room is None:
        say(f"leaving out the canary {_short(prompt)}: the context is too short for it")
        return
    say(f"asking the canary {_short(prompt)}")
    question = {"prompt": prompt, "max_tokens": room.tokens}
    choice = _complete(engine, question, deadline)
    came = choice.get("text")
    if not isinstance(came, str):
        raise not_right("It answers a canary with no text.", (f"came: {choice}"[:300],))
    wanted = expected
    if room.is_short and choice.get("finish_reason") == "length":
        wanted = expected[: max(1, len(came))]
    _compare(prompt, wanted, came)
    if len(wanted) < len(expected):
        say(
            f"  compared {len(wanted)} of its {len(expected)} characters: "
            "the context holds no more"
        )


def _compare(prompt: str, expected: str, came: str) -> None:
    if came.startswith(expected):
        return
    at = _first_difference(expected, came)
    raise not_right(
        f"It answers a canary wrong, from character {at + 1} on.",
        (
            f"prompt:   {_short(prompt)}",
            f"expected: {_around(expected, at)}",
            f"came:     {_around(came, at)}",
        ),
    )


class _Room(NamedTuple):
    tokens: int  # to ask for
    is_short: bool  # they may end before the expected text does


def _room_for(engine: Watched, prompt: str, expected: str) -> _Room | None:
    """Return how many tokens ``expected`` may take after ``prompt``.

    None where the context does not hold the prompt and a character after it. A server
    that cannot count gets the safe bound: no token is less than a byte.
    """
    before = _count(engine, prompt)
    both = _count(engine, prompt + expected)
    if before is None or both is None:
        return _Room(len(expected.encode()), is_short=False)
    needed = max(1, both.tokens - before.tokens)
    left = before.limit - before.tokens
    if left < min(needed, _CHARACTER):
        return None
    return _Room(min(needed + _SPARE, left), is_short=left < needed + _SPARE)


def _tokens_for_first(engine: Watched) -> int:
    """Return for how many tokens the first completion can ask.

    Raises:
        EngineError: Its context holds no prompt and answer at all.
    """
    count = _count(engine, _PROMPT)
    if count is None:
        return _TOKENS
    if count.limit <= count.tokens:
        raise EngineError(
            f"The engine's context of {count.limit} tokens is too short for any "
            f"question: {_PROMPT!r} takes {count.tokens}, and the answer one at least.",
            fix="Give it a longer one with `--max-model-len`.",
        )
    return min(_TOKENS, count.limit - count.tokens)


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
        check_alive_for(engine, min(2.0, deadline - time.monotonic()))
        raise EngineError(
            f"The engine listens, and does not complete a prompt: {error}.",
            evidence=(f"log: `{engine.log}`",),
            fix="Give it more time with `--ready-timeout`, or read its log.",
        ) from error
    answer = parse_object(content)
    choices = answer.get("choices") if answer else None
    if status != 200 or not isinstance(choices, list) or not choices:
        if status >= 500:
            check_alive_for(engine, _DYING)
        said = content[:300].decode(errors="replace")
        raise not_right(
            f"It answers a completion with status {status}.",
            (f"came: {said}", f"log: `{engine.log}`"),
        )
    choice = choices[0]
    return choice if isinstance(choice, dict) else {}


def not_right(what: str, evidence: tuple[str, ...]) -> NotRightError:
    """Return the error that says ``what`` is wrong with a started engine."""
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
