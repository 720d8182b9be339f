"""What the launcher adds to the engine's own time until it answers right.

The same engine with the same flags is started by hand and by `nvfp4-serve serve`, in
turn. By hand means: the command that the plan gives, asked for /health every 10 ms, and
then for the same completions that the gate asks for. Totals differ by the noise of a
start of half a minute, many times what is looked for. So the launcher's own part is
taken apart as well: from its birth to the birth of the engine, both as the kernel noted
them, and the most that the gate can lose, which is the time between two of its looks.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from record import write_result

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.host import detect_host
from nvfp4_serve.plan import Request, make_plan
from nvfp4_serve.ready.ending import LOOK
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.runtime.engine import find_engine
from nvfp4_serve.runtime.identity import engine_spec, flavour_of
from nvfp4_serve.runtime.instances import list_instances
from nvfp4_serve.runtime.local import engine_environment
from nvfp4_serve.runtime.proc import read_process

EXAMPLE = Path(__file__).parents[1] / "examples/sonnet-18-nvfp4"
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("model", nargs="?", type=Path, default=EXAMPLE)
    given = parser.parse_args()
    rounds = []
    for _ in range(given.rounds):
        by_hand = start_by_hand(given.model)
        by_launcher, before = start_by_launcher(given.model)
        rounds.append(
            {
                "by_hand_s": round(by_hand, 2),
                "by_launcher_s": round(by_launcher, 2),
                "before_the_engine_s": round(before, 2),
            }
        )
        print(rounds[-1], flush=True)
    medians = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    difference = medians["by_launcher_s"] - medians["by_hand_s"]
    own = medians["before_the_engine_s"] + LOOK
    print(f"difference of totals: {difference:.2f} s; load {os.getloadavg()[0]:.1f}")
    print(f"the launcher's own part: at most {own:.2f} s (target: at most 1 s)")
    write_result(
        "launcher_overhead",
        {
            "rounds": rounds,
            "medians": medians,
            "difference_of_totals_s": round(difference, 2),
            "own_part_at_most_s": round(own, 2),
            "load": os.getloadavg(),
        },
    )


def start_by_hand(model: Path) -> float:
    """Return the seconds from the engine's start to its last right answer."""
    port = free_port()
    layout = read_layout(read_checkpoint(str(model)))
    plan = make_plan(layout, detect_host(), Request(port=port), load_knowledge())
    engine = find_engine(engine_spec(flavour_of(plan.engine)))
    if engine is None:
        sys.exit("no engine; `nvfp4-serve engine install` installs it")
    command = [
        str(engine.python),
        "-I",
        "-m",
        "nvfp4_serve_engine",
        "serve",
        *plan.argv,
    ]
    started = time.monotonic()
    child = subprocess.Popen(
        command,
        env=engine_environment(plan, os.environ, detached=True),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while ask(port, "GET", "/health")[0] != 200:
            if child.poll() is not None:
                sys.exit(f"the engine ended with status {child.returncode}")
            time.sleep(0.01)
        for question in questions(model):
            ask(port, "POST", "/v1/completions", question | {"model": model.name})
        return time.monotonic() - started
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()


def start_by_launcher(model: Path) -> tuple[float, float]:
    """Return the seconds from the launcher's start to its word, and to the engine."""
    command = [sys.executable, "-m", "nvfp4_serve", "serve", str(model)]
    started = time.monotonic()
    launcher = subprocess.Popen(
        [*command, "--port", str(free_port())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = launcher.stdout.readline().strip() if launcher.stdout else ""
        total = time.monotonic() - started
        instance = next(i for i in list_instances() if i.url == url)
        itself = read_process(launcher.pid)
        if itself is None:
            sys.exit("the launcher has gone")
        return total, (instance.born - itself.born) / _TICKS
    finally:
        launcher.send_signal(signal.SIGINT)
        launcher.wait()


def questions(model: Path) -> list[dict[str, Any]]:
    """Return what the gate asks: one completion, then every canary."""
    path = model / "canary.json"
    canary = json.loads(path.read_text()) if path.exists() else {}
    first: dict[str, Any] = {"prompt": "The", "max_tokens": 8, "ignore_eos": True}
    # The example's tokens are letters or more, so letters are tokens enough.
    rest = [{"prompt": p, "max_tokens": len(text)} for p, text in canary.items()]
    return [q | {"temperature": 0, "logprobs": 1} for q in (first, *rest)]


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Return status and content; status 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    main()
