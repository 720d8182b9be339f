"""What a container engine's refusals mean, and what to do about each. Pure text.

Source of the engine's words, where no other is named: Docker 20.10.24 and 28.5.2,
provoked for real.
"""

import re
from dataclasses import dataclass
from typing import Final

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.containers import EngineGoneError, EngineRefusedError

#: Numbers of the kernel's resource limits (include/uapi/asm-generic/resource.h).
_LIMITS: Final = {"3": "stack", "7": "nofile", "8": "memlock"}
_INSTALL_TOOLKIT: Final = (
    "Install the NVIDIA Container Toolkit; then `sudo nvidia-ctk runtime configure "
    "--runtime=docker && sudo systemctl restart docker`."
)


@dataclass(frozen=True, slots=True)
class _Known:
    pattern: re.Pattern[str]
    problem: str
    fix: str


def _known(pattern: str, problem: str, fix: str) -> _Known:
    return _Known(re.compile(pattern, re.IGNORECASE), problem, fix)


_STARTS: Final = (
    _known(
        r"could not select device driver",
        "The container engine has no way to give GPUs to a container.",
        _INSTALL_TOOLKIT,
    ),
    _known(
        r"unresolvable CDI devices (?P<what>[^\s\"]+)",
        "The container engine finds no CDI device `{what}`.",
        "`sudo systemctl restart nvidia-cdi-refresh` (toolkit 1.18 and newer), or "
        "`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`.",
    ),
    _known(
        r"(unknown or invalid runtime name|unknown runtime specified)",
        "The container engine does not know the runtime of the GPUs.",
        _INSTALL_TOOLKIT,
    ),
    _known(
        r"invoking the NVIDIA Container Runtime Hook directly",
        "This machine's toolkit refuses `--gpus` (Jetson).",
        "`sudo nvidia-ctk runtime configure --runtime=docker`, and restart Docker; "
        "`nvfp4-serve host` then says `runtime`.",
    ),
    _known(
        r"unsatisfied condition: cuda\s*>=\s*(?P<what>[\d.]+)",
        "The image needs CUDA {what}, and the driver is too old for it.",
        "Install driver R580 or newer (CUDA 13.0).",
    ),
    _known(
        r"driver/library version mismatch",
        "The driver's libraries and its kernel module are of different versions.",
        "Reboot: the driver was updated, and the old module still runs.",
    ),
    _known(
        r"nvidia-container-cli: (?P<what>[^\n]+)",
        "The NVIDIA Container Toolkit failed: {what}.",
        "Run `nvidia-smi` here, and `sudo nvidia-ctk config` to see the toolkit's.",
    ),
    _known(
        r"(port is already allocated|address already in use)",
        "The port was taken while the container started.",
        "Stop what has it, or take another with `--port`.",
    ),
    _known(
        r"(cannot assign requested address|invalid IP)",
        "The container engine cannot publish at this address.",
        "Give an address of this machine, as `--host 127.0.0.1`.",
    ),
    _known(
        r"exec format error",
        "The image is for another kind of CPU.",
        "Take an image for this machine's architecture.",
    ),
    _known(
        r"exec: \"(?P<what>[^\"]+)\".*(no such file|not found)",
        "The image has no `{what}`.",
        "Take an image whose entrypoint is `vllm serve`, or one of ours.",
    ),
    _known(
        r"bind source path does not exist: (?P<what>\S+)",
        "The container engine does not see the folder `{what}`.",
        "Is it on another machine, or in a Docker of the Snap store, which sees home "
        "folders only? Put the checkpoint where the engine can see it.",
    ),
    _known(
        r"(no space left on device|disk quota exceeded)",
        "The container engine's disk is full.",
        "`docker system df` says what takes the space, `docker image prune` frees "
        "some.",
    ),
)

_PULLS: Final = (
    _known(
        r"credential store: ",
        "The program that keeps your passwords for registries failed.",
        "Correct `credsStore` or `credHelpers` in Docker's config.json (in "
        "~/.docker, or DOCKER_CONFIG), or take them out.",
    ),
    _known(
        r"(no matching manifest for (?P<what>[\w/]+)|does not match the specified)",
        "The image is not there for this machine's CPU architecture.",
        "Take a tag for several architectures, or one for this one.",
    ),
    _known(
        r"(unauthorized|authentication required|denied|no basic auth)",
        "The registry does not give the image to you, or does not have it.",
        "Check the name; then `docker login` to its registry.",
    ),
    _known(
        r"(manifest unknown|not found|name unknown|repository does not exist)",
        "The registry does not have the image.",
        "Check the name, the tag and the digest.",
    ),
    _known(
        r"(toomanyrequests|rate limit)",
        "The registry gives no more for now.",
        "Wait, or `docker login` to it: its limits are wider then.",
    ),
    _known(
        r"invalid reference format",
        "That is no name of an image.",
        "Write it as `registry/name:tag` or `registry/name@sha256:...`.",
    ),
    _known(
        r"(no space left on device|disk quota exceeded)",
        "The container engine's disk is full; the image was not fetched.",
        "Free some space (`docker system df` says what takes it); what came already is "
        "kept or cleared by the engine.",
    ),
    _known(
        r"server gave HTTP response to HTTPS client",
        "The registry does not speak HTTPS.",
        "If it is yours, put it into `insecure-registries` of the engine's "
        "daemon.json.",
    ),
    _known(
        r"(no such host|connection refused|i/o timeout|network is unreachable|EOF"
        r"|temporary failure in name resolution|TLS handshake|deadline exceeded"
        r"|connection reset|Client\.Timeout)",
        "The registry cannot be reached from the container engine.",
        "Check the name of the registry, the network and the engine's proxy. An image "
        "that is on this machine already is not fetched.",
    ),
)


def start_error(name: str, error: EngineRefusedError) -> EngineError:
    """Return what the refusal to make or start the container ``name`` means."""
    return _explained(
        error,
        _STARTS,
        f"The container `{name}` cannot be started.",
        "Nothing was left. The engine's own log says more (`journalctl -u docker`).",
    )


def pull_error(ref: str, error: EngineRefusedError) -> EngineError:
    """Return what the refusal to fetch the image ``ref`` means."""
    return _explained(
        error,
        _PULLS,
        f"The image `{ref}` cannot be fetched.",
        "Try `docker pull` with the same name; it may say more.",
        subject=ref,
    )


def gone_error(address: str, error: EngineGoneError, so: str) -> EngineError:
    """Return the error for an engine that does not answer.

    Args:
        address: Of the engine.
        error: What happened.
        so: What that means for what was being done; a sentence.
    """
    return EngineError(
        f"The container engine at {address} does not answer. {so}",
        evidence=(str(error),),
        fix="Look at it (`systemctl status docker`, `docker info`); then `nvfp4-serve "
        "ps` shows what runs.",
    )


def refused_limit(error: EngineRefusedError) -> str | None:
    """Return the resource limit that the engine could not set; None: another fault."""
    found = re.search(r"error setting rlimit type (\d+)", error.text) or re.search(
        r"RLIMIT_(\w+)", error.text
    )
    return _LIMITS.get(found[1], found[1].lower()) if found else None


def lacks_init(error: EngineRefusedError) -> bool:
    """True where the engine has no init of its own to put in front."""
    return "docker-init" in error.text or "catatonit" in error.text


def _explained(
    error: EngineRefusedError,
    known: tuple[_Known, ...],
    otherwise: str,
    fix: str,
    *,
    subject: str = "",
) -> EngineError:
    about = f"`{subject}`: " if subject else ""
    said = f"the engine says: {error.text.strip()}"
    for one in known:
        if found := one.pattern.search(error.text):
            named = {k: v for k, v in found.groupdict().items() if v}
            problem = one.problem.format_map({"what": "it", **named})
            return EngineError(f"{about}{problem}", evidence=(said,), fix=one.fix)
    return EngineError(otherwise, evidence=(said,), fix=fix)
