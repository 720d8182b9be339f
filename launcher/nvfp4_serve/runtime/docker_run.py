"""Runs an engine in a container of Docker or Podman, and leaves none behind."""

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.plan.types import Plan
from nvfp4_serve.runtime import instances
from nvfp4_serve.runtime.container_body import Order
from nvfp4_serve.runtime.container_failures import gone_error
from nvfp4_serve.runtime.container_instances import as_instance, list_containers
from nvfp4_serve.runtime.container_start import Starter
from nvfp4_serve.runtime.containers import (
    ContainerEngine,
    EngineGoneError,
    EngineRefusedError,
    Found,
)
from nvfp4_serve.runtime.log_copy import LogCopy, copy_log
from nvfp4_serve.runtime.port import check_free, split_bind
from nvfp4_serve.runtime.proc import read_out_of_memory_kills
from nvfp4_serve.runtime.types import Ended, Instance, Say

#: Seconds between two questions to the container engine.
_LOOK: Final = 0.3
#: Seconds that an engine may be silent, as while it is updated, before that counts.
_SILENT: Final = 15.0
#: Seconds for the last lines of a log to come.
_LAST_LINES: Final = 5.0
#: Its first process is there; somebody's `docker pause` ends nothing.
_GOING: Final = frozenset({"running", "paused"})
#: Seconds for a process that was killed to be gone.
_KILLED: Final = 30.0


class DockerRuntime:
    """Starts and stops engines in containers.

    Attributes:
        grace: Seconds that an engine may take to stop by itself.
        may_kill: False where a process that is killed with the GPU in its hands may
            take the machine with it (GB10): then it is asked, and waited for.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        say: Say,
        *,
        order: Order | None = None,
        secrets: Mapping[str, str] | None = None,
        restart: bool = True,
        may_kill: bool = True,
        grace: float = 120.0,
    ) -> None:
        """Take what is to be run.

        Args:
            engine: Docker or Podman.
            say: Told what was done otherwise than asked.
            order: What `start` starts; None where this only stops.
            secrets: Content of each of the order's secrets.
            restart: Have the container engine start it again when it ends by itself,
                once it was right and is left alone.
            may_kill: See the class.
            grace: See the class.
        """
        self.grace = grace
        self.may_kill = may_kill
        self._engine = engine
        self._say = say
        self._starter = (
            Starter(engine, say, order, dict(secrets or {})) if order else None
        )
        self._restart = restart
        self._copies: dict[str, LogCopy] = {}
        self._kills_before = read_out_of_memory_kills()
        self._heard = time.monotonic()
        self._looked = 0.0

    def start(self, plan: Plan, *, detached: bool) -> Instance:
        """Start the engine that ``plan`` describes; return before it is ready.

        Raises:
            EngineError: It cannot be started; nothing is left running.
        """
        if self._starter is None or self._starter.order.plan != plan:
            raise ValueError("this runtime was not made for this plan")
        with instances.no_other_start(self._say):
            living = [*instances.list_instances(), *self._living()]
            check_free(plan.bind, living)
            folder = instances.make_folder(
                plan.served_model_name, split_bind(plan.bind)[1]
            )
            try:
                found = self._starter.run(folder.name, detached=detached)
            except BaseException:
                shutil.rmtree(folder)
                raise
        instance = as_instance(found)
        if instance is None:
            raise AssertionError("we wrote the labels")
        self._copies[found.name] = LogCopy(self._engine, found.name, instance.log)
        return instance

    def ended(self, instance: Instance) -> Ended | None:
        """Return how the engine ended, or None while it runs.

        Raises:
            EngineError: The container engine has not answered for some time.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return None
        self._looked = now
        try:
            found = self._engine.find(_name(instance))
        except EngineGoneError as error:
            if now - self._heard < _SILENT:
                return None
            raise gone_error(self._engine.address, error, _may_run(instance)) from error
        self._heard = now
        if found is not None and found.status in _GOING and not found.restarts:
            return None
        if copy := self._copies.get(_name(instance)):
            copy.finish(_LAST_LINES)
        return self._how(found)

    def leave(self, instance: Instance) -> None:
        """Let the engine run on; have it started again when it ends by itself.

        Raises:
            EngineError: The container engine does not take that.
        """
        if not self._restart:
            return
        try:
            self._engine.set_restart(_name(instance), "unless-stopped")
        except EngineRefusedError as error:
            # Podman before 5.1 has no update of a policy.
            self._say(f"it is not started again when it ends: {error.text.strip()}")
        except EngineGoneError as error:
            raise gone_error(self._engine.address, error, _may_run(instance)) from error

    def stop(self, instance: Instance, *, hurry: Callable[[], bool]) -> None:
        """Stop the engine, and remove its container when it has ended.

        SIGTERM, and ``grace`` seconds; then SIGKILL where ``may_kill``. The container
        is never removed while it runs.

        Raises:
            EngineError: It does not end, or the container engine does not answer.
        """
        name = _name(instance)
        try:
            found = self._engine.find(name)
            if found is not None:
                self._end(found, hurry)
                self._keep_log(found, instance)
                self._engine.remove(name)
        except EngineGoneError as error:
            raise gone_error(self._engine.address, error, _may_run(instance)) from error
        except EngineRefusedError as error:
            raise EngineError(
                f"The container `{name}` cannot be stopped or removed.",
                evidence=(f"the engine says: {error.text.strip()}",),
                fix=f"`docker inspect {name}` says what it does; then `nvfp4-serve "
                f"stop {instance.id}` again.",
            ) from error

    def _living(self) -> tuple[Instance, ...]:
        found = list_containers(self._engine)
        return tuple(one for one in found if one.state in {"running", "restarting"})

    def _end(self, found: Found, hurry: Callable[[], bool]) -> None:
        """Return when ``found`` does not run any more."""
        if not found.is_alive:
            return
        # Else the end that we ask for would be taken for a failure.
        self._engine.set_restart(found.name, "no")
        self._engine.send(found.name, "SIGTERM")
        if self._is_over(found.name, self.grace, hurry):
            return
        if not self.may_kill:
            raise EngineError(
                f"The container `{found.name}` has not ended within {self.grace:.0f} "
                "s. It is not killed: on this machine that can take the GPU with it.",
                fix=f"Wait, and run `nvfp4-serve stop` again; `docker logs "
                f"{found.name}` says what it does.",
            )
        self._engine.send(found.name, "SIGKILL")
        if not self._is_over(found.name, _KILLED, lambda: False):
            raise EngineError(
                f"The container `{found.name}` does not end, though it was killed.",
                fix="A process waits for a device or a disk; see the kernel's log "
                "(`dmesg`).",
            )

    def _is_over(self, name: str, seconds: float, hurry: Callable[[], bool]) -> bool:
        end = time.monotonic() + seconds
        is_told = False
        while time.monotonic() < end:
            found = self._engine.find(name)
            if found is None or not found.is_alive:
                return True
            if hurry():
                if self.may_kill:
                    return False
                if not is_told:
                    self._say(
                        "it is not killed, that can take the GPU with it; waiting"
                    )
                is_told = True
            time.sleep(_LOOK)
        return False

    def _keep_log(self, found: Found, instance: Instance) -> None:
        """Leave the log in the instance's folder, for some days."""
        if copy := self._copies.pop(found.name, None):
            copy.finish(_LAST_LINES)
            return
        instance.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy_log(self._engine, found.name, instance.log, follow=False)

    def _how(self, found: Found | None) -> Ended:
        if found is None:
            return Ended("was removed by somebody else", out_of_memory=False)
        killed = found.exit_code > 128 and found.exit_code - 128 in set(signal.Signals)
        if found.status == "running" or found.restarts:
            how = "ended, and the container engine started it again"
        elif killed:
            number = signal.Signals(found.exit_code - 128)
            how = f"was killed by signal {number.value} ({number.name})"
        else:
            how = f"ended with status {found.exit_code}"
        kills = read_out_of_memory_kills() > self._kills_before
        return Ended(how, out_of_memory=found.out_of_memory or kills)


def _name(instance: Instance) -> str:
    if instance.container is None:
        raise ValueError(f"{instance.id} does not run in a container")
    return instance.container


def _may_run(instance: Instance) -> str:
    return f"The container `{instance.container}` may still run."
