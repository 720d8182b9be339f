"""Runs an engine as processes of this machine, and leaves none behind."""

import datetime as dt
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.plan.types import Plan
from nvfp4_serve.runtime import instances
from nvfp4_serve.runtime.port import check_free, split_bind, url_of
from nvfp4_serve.runtime.proc import (
    Process,
    read_boot,
    read_members,
    read_out_of_memory_kills,
    read_process,
)
from nvfp4_serve.runtime.types import Ended, Instance, Say
from nvfp4_serve.runtime.watch import Watch

#: What the engine is given of our environment; all else comes from the plan. Nothing
#: here chooses how it computes. A token goes this way and never as an argument, which
#: every user of the machine could read.
_PASSED_ON: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LD_LIBRARY_PATH", "CUDA_HOME"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH"),
    "VLLM_API_KEY",
)
#: Read by our package in the engine: the kernel ends it when this process does.
_DIE_WITH_PARENT: Final = "NVFP4_SERVE_DIE_WITH_PARENT"
#: Seconds between two looks at the process table.
_LOOK: Final = 0.05


class LocalRuntime:
    """Starts and stops engines on this machine.

    Attributes:
        command: What runs vLLM; a plan's ``argv`` follows it.
        engine: Id of the managed engine that ``command`` runs, None for another.
        given: Variables that the engine gets, before the plan's own.
        grace: Seconds that an engine may take to stop by itself.
        orphan_grace: Seconds for what is left when its first process has ended.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        say: Say,
        *,
        engine: str | None = None,
        given: tuple[tuple[str, str], ...] = (),
        grace: float = 30.0,
        orphan_grace: float = 2.0,
    ) -> None:
        self.command = command
        self.engine = engine
        self.given = given
        self.grace = grace
        self.orphan_grace = orphan_grace
        self._say = say
        self._watches: dict[int, Watch] = {}

    def start(self, plan: Plan, *, detached: bool) -> Instance:
        """Start the engine that ``plan`` describes; return before it is ready.

        Raises:
            EngineError: It cannot be started; nothing is left running.
        """
        # Held from the look at the port until the record is there for the next to see.
        with instances.no_other_start(self._say):
            check_free(plan.bind, instances.list_instances())
            folder = instances.make_folder(
                plan.served_model_name, split_bind(plan.bind)[1]
            )
            child = self._spawn(plan, folder, detached=detached)
            instance = _describe(
                plan, folder, child.pid, engine=self.engine, detached=detached
            )
            try:
                instances.write_record(instance)
            except OSError:
                self.stop(instance, hurry=lambda: True)
                raise
        return instance

    def ended(self, instance: Instance) -> Ended | None:
        """Return how the engine ended, or None while its first process runs."""
        if watch := self._watches.get(instance.pid):
            return watch.ended()
        if instances.lives(instance):
            return None
        return Ended(how="ended", out_of_memory=False)

    def leave(self, instance: Instance) -> None:
        """Let the engine run on; nothing ties a detached one to this process."""

    def stop(self, instance: Instance, *, hurry: Callable[[], bool]) -> None:
        """Stop the engine and everything it started; return when nothing is left.

        SIGTERM to every process of its session, in whatever group, and ``grace``
        seconds; then SIGKILL. A process that made a session of its own has left on
        purpose and is not ours to find.

        Raises:
            EngineError: Something cannot be stopped.
        """
        if instances.lives(instance):
            for process in read_members(instance.pid):
                _signal_process(process.pid, signal.SIGTERM)
            self._wait_empty(instance, hurry)
            self._kill_members(instance)
        if watch := self._watches.pop(instance.pid, None):
            watch.child.wait()
        instances.remove_record(instance)

    def _spawn(
        self, plan: Plan, folder: Path, *, detached: bool
    ) -> subprocess.Popen[bytes]:
        kills = read_out_of_memory_kills()
        with (folder / "engine.log").open("xb") as log:
            try:
                child = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                    [*self.command, *plan.argv],
                    env=engine_environment(
                        plan, os.environ, detached=detached, given=self.given
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                shutil.rmtree(folder)
                raise EngineError(
                    f"The engine `{self.command[0]}` cannot be run: {error.strerror}.",
                    fix="Install it again: `nvfp4-serve engine install`.",
                ) from error
        self._watches[child.pid] = Watch(child, kills)
        return child

    def _wait_empty(self, instance: Instance, hurry: Callable[[], bool]) -> None:
        """Return when nothing is left, or has had its time."""
        end = time.monotonic() + self.grace
        while time.monotonic() < end and not hurry():
            self._collect(instance)
            left = read_members(instance.pid)
            if not left:
                return
            if instance.pid not in {process.pid for process in left}:
                end = min(end, time.monotonic() + self.orphan_grace)
            time.sleep(_LOOK)

    def _kill_members(self, instance: Instance) -> None:
        end = time.monotonic() + 10
        while left := read_members(instance.pid):
            if time.monotonic() > end:
                raise _unstoppable(instance, left)
            for process in left:
                _signal_process(process.pid, signal.SIGKILL)
            self._collect(instance)
            time.sleep(_LOOK)

    def _collect(self, instance: Instance) -> None:
        if watch := self._watches.get(instance.pid):
            watch.child.poll()


def engine_environment(
    plan: Plan,
    ours: Mapping[str, str],
    *,
    detached: bool,
    given: tuple[tuple[str, str], ...] = (),
) -> dict[str, str]:
    """Return the engine's whole environment: what it needs of ours, then the plan's.

    Args:
        plan: Whose engine it is.
        ours: This process's environment.
        detached: The engine may outlive this process.
        given: Variables that the engine's own place gives it.
    """
    passed = {name: ours[name] for name in _PASSED_ON if name in ours}
    tied = {} if detached else {_DIE_WITH_PARENT: str(os.getpid())}
    return passed | dict(given) | {"PYTHONUNBUFFERED": "1"} | dict(plan.env) | tied


def _describe(
    plan: Plan, folder: Path, pid: int, *, engine: str | None, detached: bool
) -> Instance:
    first = read_process(pid)
    if first is None:  # It is ours to collect, so it is listed even when it has ended.
        raise AssertionError(f"process {pid} was started and is not in /proc")
    return Instance(
        id=folder.name,
        name=plan.served_model_name,
        url=url_of(plan.bind),
        pid=pid,
        born=first.born,
        boot=read_boot(),
        folder=folder,
        started=dt.datetime.now(dt.UTC).isoformat("T", "seconds"),
        detached=detached,
        engine=engine,
    )


def _signal_process(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # It ended between our look and our signal.


def _unstoppable(instance: Instance, left: tuple[Process, ...]) -> EngineError:
    return EngineError(
        f"{len(left)} processes of the engine `{instance.id}` do not end.",
        evidence=tuple(f"{p.name} (pid {p.pid}, state {p.state})" for p in left),
        fix="State D waits for a device or a disk; see the kernel's log (`dmesg`).",
    )
