"""Makes one container and starts it; leaves none that did not start."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nvfp4_serve.errors import EngineError
from nvfp4_serve.plan.types import Plan
from nvfp4_serve.runtime.container_body import (
    CACHE,
    CACHES,
    HUB,
    HUB_CACHE,
    LIMITS,
    SECRETS,
    Order,
    container_body,
    hub_volume,
    labels_of,
)
from nvfp4_serve.runtime.container_failures import (
    gone_error,
    lacks_init,
    refused_limit,
    start_error,
)
from nvfp4_serve.runtime.container_instances import as_instance
from nvfp4_serve.runtime.containers import (
    ContainerEngine,
    EngineGoneError,
    EngineRefusedError,
    File,
    Found,
)
from nvfp4_serve.runtime.port import split_bind
from nvfp4_serve.runtime.proc import read_limits
from nvfp4_serve.runtime.types import Say


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts one order in one engine.

    Attributes:
        engine: Docker or Podman.
        say: Told what was done otherwise than asked.
        order: What is started.
        secrets: Content of each of the order's secrets.
    """

    engine: ContainerEngine
    say: Say
    order: Order
    secrets: Mapping[str, str]

    def run(self, identity: str, *, detached: bool) -> Found:
        """Make the container, fill it and start it; return it.

        Args:
            identity: Of the instance.
            detached: It is to outlive the launcher.

        Raises:
            EngineError: It cannot be started; nothing is left.
        """
        order = self.order
        name = container_name(order.plan)
        labels = labels_of(
            order,
            identity,
            started=dt.datetime.now(dt.UTC).isoformat("T", "seconds"),
            detached=str(detached).lower(),
        )
        try:
            self._clear(name)
            while True:
                made = self.engine.create(name, container_body(order, labels))
                try:
                    self.engine.put(made, CACHE, _folders(order))
                    self._fill(made, order)
                    self.engine.start(made)
                except BaseException as error:
                    self._drop(made, name)
                    less = self._with_less(order, error)
                    if less is None:
                        raise
                    order = less
                    continue
                self._compare_limits(found := self._started(name), order)
                return found
        except EngineRefusedError as error:
            raise start_error(name, error) from error
        except EngineGoneError as error:
            raise gone_error(
                self.engine.address, error, f"The container `{name}` may be left."
            ) from error

    def _drop(self, made: str, name: str) -> None:
        """Remove what did not start; say so where that cannot be done."""
        try:
            self.engine.remove(made)
        except EngineRefusedError as error:
            # The answer to its start may have been lost, and it runs all the same.
            raise EngineError(
                f"The container `{name}` was not seen to start, and cannot be removed.",
                evidence=(f"the engine says: {error.text.strip()}",),
                fix="`nvfp4-serve ps` shows it where it runs, and `nvfp4-serve stop` "
                f"ends it; else `docker rm -v {name}`.",
            ) from error

    def _started(self, name: str) -> Found:
        found = self.engine.find(name)
        if found is None:
            raise EngineRefusedError(404, f"{name} was removed as it started")
        return found

    def _compare_limits(self, found: Found, order: Order) -> None:
        """Say which limits the engine has quietly set lower than it was asked."""
        given = read_limits(found.pid) if found.pid else {}
        for name in order.limits:
            asked, soft = LIMITS[name], given.get(name)
            if soft is not None and (asked < 0 or soft < asked):
                wanted = "no limit" if asked < 0 else str(asked)
                self.say(f"this container engine set {name} to {soft}, not {wanted}")

    def _fill(self, made: str, order: Order) -> None:
        if hub_volume(order) is not None:
            name = HUB_CACHE.rpartition("/")[2]
            self.engine.put(made, HUB, (File(name, None, order.user, 0o700),))
        if order.secrets:
            files = tuple(
                File(name, self.secrets[name].encode(), order.user, 0o400)
                for name in order.secrets
            )
            self.engine.put(made, SECRETS, files)

    def _with_less(self, order: Order, error: BaseException) -> Order | None:
        """Return the order without what this engine cannot do; None: not for that."""
        if not isinstance(error, EngineRefusedError):
            return None
        if (limit := refused_limit(error)) in order.limits:
            self.say(f"this container engine cannot set {limit}; starting without")
            left = tuple(name for name in order.limits if name != limit)
            return replace(order, limits=left)
        if order.init and lacks_init(error):
            self.say("this container engine has no init; starting without")
            return replace(order, init=False)
        return None

    def _clear(self, name: str) -> None:
        """Make way: what is ours and has ended is removed, and nothing else."""
        found = self.engine.find(name)
        if found is None:
            return
        if as_instance(found) is None or found.is_alive:
            raise EngineError(
                f"A container `{name}` is there already ({found.status}), and it is "
                "not ours to remove.",
                fix=f"Stop and remove it (`docker stop {name}`, then `docker rm "
                f"{name}`), or take another `--port` or `--served-model-name`.",
            )
        self.say(f"removing the container {name} of an engine that has ended")
        self.engine.remove(name)


def container_name(plan: Plan) -> str:
    """Return the name of the container of ``plan``: one for a model and a port."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", plan.served_model_name).strip("-.")
    return f"nvfp4-serve-{slug[-40:] or 'model'}-{split_bind(plan.bind)[1]}"


def _folders(order: Order) -> tuple[File, ...]:
    """Return the folders of the cache: a new volume belongs to root."""
    return tuple(File(name, None, order.user, 0o700) for name in CACHES.values())
