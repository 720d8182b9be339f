"""A Plan as a compose file.

Source:
    The Compose Specification, 05-services.md and deploy.md: ``ports``, ``volumes``,
    ``devices`` with ``device_ids`` and ``capabilities``; ``$$`` is a dollar.
"""

from typing import Any, Final

from nvfp4_serve.plan.types import Mount, Plan
from nvfp4_serve.recipe.yaml_text import Inside, render_yaml
from nvfp4_serve.render.exported import (
    Exported,
    common_warnings,
    image_of,
    refuse_secrets,
)

#: Where the container keeps what it loads from the Hub.
_HUB: Final = "/hub"
#: Inside of the container every address is its own; the port is published on one.
_INSIDE: Final = "0.0.0.0"  # noqa: S104 - see above


def export_compose(plan: Plan, image: str | None) -> Exported:
    """Return a compose file that serves as the plan says, on the plan's address.

    Raises:
        UsageError: There is no image, or the plan holds a secret.
    """
    refuse_secrets(plan)
    name = image_of(plan, image)
    service: dict[str, Any] = {
        "image": _literal(name),
        "entrypoint": ["vllm", "serve"],
        "command": [_literal(word) for word in _inside(plan.argv)],
        "environment": _environment(plan),
        "ports": [_port(plan.bind)],
        "volumes": [_bind(mount) for mount in plan.mounts] or [_hub()],
        "restart": "no",
        "shm_size": plan.shm_bytes,
    }
    if plan.gpus:
        service["deploy"] = {"resources": {"reservations": {"devices": [_gpus(plan)]}}}
    data: dict[str, Any] = {"services": {"vllm": service}}
    if not plan.mounts:
        data["volumes"] = {"hub": {}}
    return Exported(render_yaml(data), tuple(common_warnings(plan, name)))


def _literal(text: str) -> str:
    """Keep compose from replacing what looks like a variable."""
    return text.replace("$", "$$")


def _inside(argv: tuple[str, ...]) -> list[str]:
    """Return the words with the address that a container must bind."""
    words = list(argv)
    for index, word in enumerate(words):
        if word == "--host" and index + 1 < len(words):
            words[index + 1] = _INSIDE
        elif word.startswith("--host="):
            words[index] = f"--host={_INSIDE}"
    return words


def _environment(plan: Plan) -> dict[str, str]:
    """Return the variables; the GPUs are chosen by the reservation alone."""
    found = {
        name: _literal(value)
        for name, value in plan.env
        if name != "CUDA_VISIBLE_DEVICES"
    }
    return found if plan.mounts else {**found, "HF_HOME": _HUB}


def _port(bind: str) -> dict[str, Any]:
    address, _, port = bind.rpartition(":")
    return {
        "host_ip": address.strip("[]"),
        "published": port,
        "target": int(port),
        "protocol": "tcp",
    }


def _bind(mount: Mount) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": _literal(mount.source),
        "target": _literal(mount.target),
        "read_only": mount.read_only,
    }


def _hub() -> dict[str, Any]:
    return {"type": "volume", "source": "hub", "target": _HUB}


def _gpus(plan: Plan) -> dict[str, Any]:
    return Inside(driver="nvidia", device_ids=list(plan.gpus), capabilities=["gpu"])
