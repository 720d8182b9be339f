"""Our containers as instances: found by their labels, whoever started them."""

import re
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.container_failures import gone_error
from nvfp4_serve.runtime.containers import (
    INSTANCE_LABEL,
    LABEL,
    ContainerEngine,
    EngineGoneError,
    EngineRefusedError,
    Found,
)
from nvfp4_serve.runtime.places import instances_folder
from nvfp4_serve.runtime.port import url_of
from nvfp4_serve.runtime.types import Instance

#: An id becomes the name of a folder; labels are written by whoever makes a container.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BIND: Final = re.compile(r"\S+:\d{1,5}")


def list_containers(engine: ContainerEngine) -> tuple[Instance, ...]:
    """Return every container of ours that ``engine`` has, in whatever state.

    Raises:
        EngineError: The engine does not say.
    """
    try:
        found = engine.list_ours()
    except EngineGoneError as error:
        raise gone_error(
            engine.address, error, "What runs in it cannot be listed."
        ) from error
    except EngineRefusedError as error:
        raise EngineError(
            f"The container engine at {engine.address} does not list containers.",
            evidence=(error.text,),
            fix="Run as a user that may ask it.",
        ) from error
    return tuple(filter(None, map(as_instance, found)))


def as_instance(found: Found) -> Instance | None:
    """Return the instance in ``found``; None where its labels are not ours."""
    identity = found.labels.get(INSTANCE_LABEL, "")
    bind = found.labels.get(f"{LABEL}.bind", "")
    if not _ID.fullmatch(identity) or not _BIND.fullmatch(bind):
        return None
    return Instance(
        id=identity,
        name=found.labels.get(f"{LABEL}.model", ""),
        url=url_of(bind),
        pid=found.pid,
        born=0,
        boot="",
        folder=instances_folder() / identity,
        started=found.labels.get(f"{LABEL}.started", ""),
        detached=found.labels.get(f"{LABEL}.detached") == "true",
        container=found.name,
        image=found.labels.get(f"{LABEL}.image"),
        state=found.status,
    )
