"""The ready gate: an engine is ready when its answers are right, and not before."""

import re
import time
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.plan.types import Expect
from nvfp4_serve.ready.answers import check_canary, check_completion, not_right
from nvfp4_serve.ready.client import Unanswered, ask
from nvfp4_serve.ready.ending import LOOK, check_alive
from nvfp4_serve.ready.log import LogReader, read_log
from nvfp4_serve.ready.phases import Phases
from nvfp4_serve.ready.types import Say, Watched

#: Which kernel runs NVFP4 layers or experts: vLLM 0.32.0, ``kernels/linear`` and
#: ``fused_moe/oracle/nvfp4.py``.
_KERNEL: Final = re.compile(r"Using \S+ (?:for NVFP4 GEMM|NvFp4 MoE backend)")


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
    follow), in this order. Of a text that the engine's context does not hold, the
    beginning that it holds must follow.

    Raises:
        EngineError: It ended, was not up and done within ``seconds``, or its context
            holds no question at all.
        NotRightError: It answers, and not as it must.
    """
    deadline = time.monotonic() + seconds
    _wait_healthy(engine, deadline, seconds, say)
    say("asking it for one completion")
    check_completion(engine, deadline)
    _check_log(engine, expect)
    for prompt, expected in canary:
        check_canary(engine, prompt, expected, deadline, say)


def _wait_healthy(engine: Watched, deadline: float, seconds: float, say: Say) -> None:
    log, phases = LogReader(engine.log), Phases()
    while True:
        for phase in phases.read(log.new_lines()):
            say(phase)
        check_alive(engine)
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


def _check_log(engine: Watched, expect: Expect) -> None:
    """Check what the log says; wait for what may still be on its way to the file."""
    end = time.monotonic() + engine.log_lag
    faults = _faults(engine.log, expect)
    while faults and time.monotonic() < end:
        time.sleep(LOOK)
        faults = _faults(engine.log, expect)
    if faults:
        raise not_right(
            "Its log does not say what the plan expects.",
            (*faults[:8], f"log: `{engine.log}`"),
        )


def _faults(log: Path, expect: Expect) -> list[str]:
    missing = {pattern: re.compile(pattern) for pattern in expect.log_must}
    forbidden = [re.compile(pattern) for pattern in expect.log_must_not]
    refused, kernels = [], []
    for line in read_log(log):
        missing = {k: v for k, v in missing.items() if not v.search(line)}
        refused += [f"must not: {line[:300]}" for p in forbidden if p.search(line)]
        kernels += [f"it says: {found[0]}" for found in _KERNEL.finditer(line)]
    lacks = [f"missing: {pattern}" for pattern in missing]
    said = list(dict.fromkeys(kernels)) if missing else []
    return [*lacks, *said, *refused]
