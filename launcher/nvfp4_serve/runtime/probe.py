"""Looks for GPUs from inside a container, as an engine there would."""

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from nvfp4_serve.runtime.containers import (
    LABEL,
    ContainerEngine,
    EngineRefusedError,
    Image,
)

#: The toolkit puts it into every container that is given GPUs; it lists their UUIDs.
_COMMAND: Final = ("nvidia-smi", "-L")
_UUID: Final = re.compile(r"\b((?:GPU|MIG)-[0-9a-fA-F-]+)\b")
#: Seconds for the driver of many GPUs to answer.
_LONGEST: Final = 60.0
_LOOK: Final = 0.2


def probe_gpus(
    engine: ContainerEngine, image: Image, request: Mapping[str, Any]
) -> tuple[frozenset[str], str]:
    """Return the UUIDs of the GPUs that a container sees, and what it wrote.

    The container has no network and no right, and is removed.

    Args:
        engine: Docker or Podman.
        image: Any that has a shell's worth of libraries.
        request: How GPUs are asked for; a part of the ``HostConfig``.

    Raises:
        EngineRefusedError: It cannot be started.
        EngineGoneError: The engine does not answer.
    """
    name = f"nvfp4-serve-probe-{secrets.token_hex(4)}"
    body = {
        "Image": image.id,
        "Entrypoint": [_COMMAND[0]],
        "Cmd": list(_COMMAND[1:]),
        # What the runtime `nvidia` goes by; the image may not say it.
        "Env": ["NVIDIA_VISIBLE_DEVICES=all"] if "Runtime" in request else [],
        "Labels": {f"{LABEL}.probe": "true"},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            **request,
        },
    }
    made = engine.create(name, body)
    try:
        engine.start(made)
        _wait(engine, made)
        said = b"".join(engine.logs(made, follow=False)).decode(errors="replace")
    finally:
        engine.send(made, "SIGKILL")
        _wait(engine, made)
        engine.remove(made)
    return frozenset(_UUID.findall(said)), said


def _wait(engine: ContainerEngine, container: str) -> None:
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end:
        found = engine.find(container)
        if found is None or not found.is_alive:
            return
        time.sleep(_LOOK)
    raise EngineRefusedError(0, f"`{' '.join(_COMMAND)}` did not end")
