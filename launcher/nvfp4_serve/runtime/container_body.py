"""Plan + image + machine -> what a container engine is asked for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.host.cdi import KIND
from nvfp4_serve.host.types import Attach, Container
from nvfp4_serve.plan.types import Plan
from nvfp4_serve.runtime.containers import INSTANCE_LABEL, LABEL, Image
from nvfp4_serve.runtime.model_mount import MODEL, ModelMount
from nvfp4_serve.runtime.port import published_address, split_bind

#: Secrets are files here, in a volume of the container's own: the engine shows the
#: environment and the arguments of a container to whoever may ask it.
SECRETS: Final = "/run/nvfp4-serve"
#: What is compiled, on the disk of the engine's machine.
CACHE: Final = "/cache"
#: What is downloaded, where the model is not a folder of this machine.
HUB: Final = "/hub"
HUB_CACHE: Final = f"{HUB}/cache"
#: Folders below CACHE, and the variables with which their users find them. vLLM 0.32.0,
#: envs.py (VLLM_CACHE_ROOT, FLASHINFER_WORKSPACE_BASE); Triton, Inductor, CUDA and
#: huggingface_hub, environment variables.
CACHES: Final[Mapping[str, str]] = {
    "HOME": "home",
    "XDG_CACHE_HOME": "xdg",
    "XDG_CONFIG_HOME": "config",
    "HF_HOME": "huggingface",
    "VLLM_CACHE_ROOT": "vllm",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
}
#: Resource limits: pinned memory for transfers, deep stacks, a socket for each client.
#: vLLM's own advice for containers; the numbers of NVIDIA's image documentation.
LIMITS: Final[Mapping[str, int]] = {
    "memlock": -1,
    "stack": 64 << 20,
    "nofile": 1 << 20,
}
#: Seconds that `docker stop` by hand gives the engine; it frees the GPUs meanwhile.
STOP_SECONDS: Final = 120
#: Reads the key from its file, for the engine alone, and becomes the engine.
_WITH_KEY: Final = (
    f'VLLM_API_KEY="$(cat {SECRETS}/VLLM_API_KEY)" && export VLLM_API_KEY && exec "$@"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that decides what the engine is asked for.

    Attributes:
        plan: What is served; not changed.
        image: What the container is made from.
        container: The engine, and how GPUs attach to it.
        command: What runs vLLM in the image; the plan's words follow it.
        model: Where the checkpoint is; None: the engine fetches it from the Hub.
        user: uid and gid.
        secrets: Names of the files below SECRETS.
        variables: More of the container's environment; never a secret.
        capability: ``12.1``, or ``cpu``; what is compiled is for it.
        hub: The Hub's cache on this machine, where there is no ``model``; None: a
            volume of its own.
        limits: Resource limits to ask for.
        init: Have the engine put its small init in front.
    """

    plan: Plan
    image: Image
    container: Container
    command: tuple[str, ...]
    model: ModelMount | None
    user: tuple[int, int]
    capability: str
    secrets: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None
    limits: tuple[str, ...] = tuple(LIMITS)
    init: bool = True


def container_body(order: Order, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of ``POST /containers/create``.

    Raises:
        EngineError: The plan has GPUs, and the engine cannot give them; or its address
            is a name.
    """
    port = f"{split_bind(order.plan.bind)[1]}/tcp"
    first, *rest = order.command
    words = [*rest, *engine_words(order)]
    if "VLLM_API_KEY" in order.secrets:
        entry, words = ["/bin/sh", "-c", _WITH_KEY], ["sh", first, *words]
    else:
        entry = [first]
    return {
        "Image": order.image.id,
        "Entrypoint": entry,
        "Cmd": words,
        "Env": [f"{name}={value}" for name, value in _environment(order).items()],
        "User": "{}:{}".format(*order.user),
        "WorkingDir": f"{CACHE}/{CACHES['HOME']}",
        "Labels": dict(labels),
        "ExposedPorts": {port: {}},
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "StopTimeout": STOP_SECONDS,
        "HostConfig": _host_config(order, port),
    }


def engine_words(order: Order) -> tuple[str, ...]:
    """Return the plan's words as they hold inside the container.

    The model is where it is mounted, and the engine listens to every address of the
    container: only the published one can be reached from outside.
    """
    words = list(order.plan.argv)
    if order.model is not None:
        words[0] = order.model.path
    words[words.index("--host") + 1] = "0.0.0.0"  # noqa: S104 - see above
    return tuple(words)


def labels_of(order: Order, instance: str, **more: str) -> dict[str, str]:
    """Return the labels that describe an instance; none of them is a secret."""
    plan = order.plan
    named = {
        "model": plan.served_model_name,
        "bind": plan.bind,
        "image": order.image.exact,
        "engine": plan.engine,
        **more,
    }
    return {INSTANCE_LABEL: instance} | {f"{LABEL}.{k}": v for k, v in named.items()}


def cache_volume(order: Order) -> str:
    """Return the name of the volume for what the engine compiles.

    Nothing that was compiled for another image or GPU is found in it, and nothing that
    another user owns.
    """
    digest = order.image.id.rpartition(":")[2][:12]
    return f"nvfp4-serve-{digest}-{order.capability}-{order.user[0]}"


def hub_volume(order: Order) -> str | None:
    """Return the name of the volume for downloads; None where none is needed."""
    if order.model is not None or order.hub is not None:
        return None
    return f"nvfp4-serve-hub-{order.user[0]}"


def _environment(order: Order) -> dict[str, str]:
    caches = {name: f"{CACHE}/{folder}" for name, folder in CACHES.items()}
    ours = {"USER": "nvfp4-serve", "LOGNAME": "nvfp4-serve", "PYTHONUNBUFFERED": "1"}
    if order.model is None:
        ours["HF_HUB_CACHE"] = HUB_CACHE
    if "HF_TOKEN" in order.secrets:
        ours["HF_TOKEN_PATH"] = f"{SECRETS}/HF_TOKEN"
    if order.plan.gpus and order.container.attach is Attach.RUNTIME:
        ours["NVIDIA_VISIBLE_DEVICES"] = ",".join(order.plan.gpus)
    # The plan's folders are this machine's, and nothing but the cache can be written.
    return ours | dict(order.variables) | dict(order.plan.env) | caches


def _host_config(order: Order, port: str) -> dict[str, Any]:
    host, number = split_bind(order.plan.bind)
    published = {"HostIp": published_address(host), "HostPort": str(number)}
    return {
        "PortBindings": {port: [published]},
        "Mounts": _mounts(order),
        # runc gives it the mode of the image's own folder, whatever is asked; so it
        # belongs to the user.
        "Tmpfs": {
            "/tmp": "rw,exec,nosuid,nodev,mode=1777,uid={},gid={}".format(*order.user)  # noqa: S108 - in the container, and its own
        },
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        # With it the engine's seccomp profile allows the calls with which vLLM binds
        # memory to NUMA nodes. A user other than root gets no capability by it.
        "CapAdd": [] if order.plan.gpus else ["SYS_NICE"],
        "SecurityOpt": _security(order),
        "Ulimits": [
            {"Name": name, "Soft": LIMITS[name], "Hard": LIMITS[name]}
            for name in order.limits
        ],
        "ShmSize": order.plan.shm_bytes,
        "IpcMode": "private",
        "Init": order.init,
        # Set once the answers are right: a start that fails must not be repeated.
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": "50m", "max-file": "3"},
        },
        **gpu_request(order.plan.gpus, order.container),
    }


def _security(order: Order) -> list[str]:
    # Podman separates containers by SELinux, and devices given by CDI with them.
    apart = ["label=disable"] if order.container.engine == "podman" else []
    return ["no-new-privileges", *apart]


def _mounts(order: Order) -> list[dict[str, Any]]:
    mounts = [_volume(cache_volume(order), CACHE, order)]
    if order.model is not None:
        mounts.append(_bind(order.model.source, MODEL, read_only=True))
    elif order.hub is not None:
        mounts.append(_bind(order.hub, HUB_CACHE, read_only=False))
    elif name := hub_volume(order):
        mounts.append(_volume(name, HUB, order))
    if order.secrets:
        # Without a name: it goes when the container goes.
        mounts.append({"Type": "volume", "Target": SECRETS})
    return mounts


def _volume(name: str, target: str, order: Order) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": name,
        "Target": target,
        "VolumeOptions": {"Labels": {f"{LABEL}.cache": order.image.exact}},
    }


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    # A mount of this kind is refused where its source is missing; the older `Binds`
    # make an empty folder instead, and split at every colon.
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def gpu_request(gpus: tuple[str, ...], container: Container) -> dict[str, Any]:
    """Return how ``container`` is asked for ``gpus``; a part of the ``HostConfig``.

    Raises:
        EngineError: It cannot give them.
    """
    match container.attach:
        case _ if not gpus:
            return {}
        case Attach.DEVICE_REQUEST:
            return {"DeviceRequests": [_request("", gpus, [["gpu"]])]}
        case Attach.CDI:
            names = _cdi_names(gpus, container)
            return {"DeviceRequests": [_request("cdi", names, [])]}
        case Attach.RUNTIME:
            return {"Runtime": "nvidia"}
        case Attach.NONE:
            raise EngineError(
                f"The plan has {len(gpus)} GPUs, and containers cannot be given them: "
                f"{container.reason}.",
                fix="`nvfp4-serve doctor` says what to install, or use `--runtime "
                "local`. A container without them would serve on the CPU.",
            )


def _request(
    driver: str, ids: tuple[str, ...], capabilities: list[list[str]]
) -> dict[str, Any]:
    return {
        "Driver": driver,
        "Count": 0,
        "DeviceIDs": list(ids),
        "Capabilities": capabilities,
        "Options": {},
    }


def _cdi_names(gpus: tuple[str, ...], container: Container) -> tuple[str, ...]:
    """Return the CDI names of ``gpus``, by UUID: the indices of a spec are its own."""
    names = tuple(f"{KIND}={uuid}" for uuid in gpus)
    missing = [name for name in names if name not in container.cdi_devices]
    if not missing:
        return names
    raise EngineError(
        f"No CDI spec has the GPU `{missing[0]}`.",
        evidence=tuple(f"listed: {name}" for name in container.cdi_devices[:8]),
        fix="Write it again, with UUIDs: `sudo nvidia-ctk cdi generate "
        "--device-name-strategy=uuid --device-name-strategy=index "
        "--output=/etc/cdi/nvidia.yaml`.",
    )
