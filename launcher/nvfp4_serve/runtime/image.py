"""The engine of a container image: what its manifest says, and whether it holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from nvfp4_serve.errors import EngineError, PatchError
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.types import Host
from nvfp4_serve.runtime.uv import run_series

#: Every image of ours has it, and nothing else has.
MANIFEST: Final = Path("/opt/nvfp4-serve/manifest.json")
SCHEMA: Final = "nvfp4-serve/image/v1"


class ImageVllm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vLLM of an image."""

    distribution: str
    version: str


class ImageEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An engine that was there before the launcher: the one of a container image.

    Attributes:
        schema: Which kind of manifest it is.
        target: Which of our images; ``base``, ``gb10``.
        launcher: Version of the launcher that was put into the image.
        vllm: What serves.
        python: The interpreter that runs it.
        python_version: Of that interpreter.
        site_packages: The folder that holds vLLM.
        torch: Its version; None where the image was built without one.
        cuda: What torch was built for; None on a CPU.
        patch_digest: Of the patches that were applied.
        patches: Name and sha256 of each.
        plugin: Path and sha256 of each file that was added.
        flags: What `vllm serve` of this version takes.
        environment: Variables of the image that the engine is given.
        capabilities: Compute capabilities that the image is made for; none: any.
    """

    schema: str
    target: str
    launcher: str
    vllm: ImageVllm
    python: str
    python_version: str
    site_packages: str
    torch: str | None
    cuda: str | None
    patch_digest: str
    patches: dict[str, str]
    plugin: dict[str, str]
    flags: tuple[str, ...]
    environment: tuple[str, ...]
    capabilities: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """What it is, in the words of a plan's ``engine``."""
        return f"{self.vllm.distribution}=={self.vllm.version}"


def read_image(path: Path = MANIFEST) -> ImageEngine | None:
    """Return the engine of the image that this process runs in; None in no image.

    Raises:
        EngineError: There is a manifest, and it is not one of ours.
    """
    try:
        engine = msgspec.json.decode(path.read_bytes(), type=ImageEngine)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise _not_ours(path, str(error)) from error
    if engine.schema != SCHEMA:
        raise _not_ours(path, f"its schema is `{engine.schema}`, not `{SCHEMA}`")
    return engine


def check_machine(image: ImageEngine, host: Host) -> None:
    """Check that ``image`` is made for ``host``.

    A container that was started without its GPUs must not serve on the CPU, and one
    that was made for another GPU must not serve with that one's settings.

    Raises:
        EngineError: It is made for another machine.
    """
    if bool(host.gpus) != bool(image.cuda):
        raise _no_gpu(image, host) if image.cuda else _too_many_gpus(image, host)
    here = {capability_text(gpu.compute_capability) for gpu in host.gpus}
    strange = sorted(here - set(image.capabilities))
    if image.capabilities and strange:
        raise EngineError(
            f"The image `{image.target}` is made for GPUs of compute capability "
            f"{' and '.join(image.capabilities)}, and {strange[0]} is here.",
            evidence=tuple(f"{gpu.uuid} {gpu.name}" for gpu in host.gpus),
            fix="Take the image that is made for this GPU, or `base`, which is made "
            "for all of them.",
        )


def verify_image(image: ImageEngine, series: Path) -> None:
    """Check that every patched file of the image is what our lock says.

    Raises:
        PatchError: Some file was changed since the image was built.
    """
    status, words = run_series(series, "verify", image.site_packages)
    if status:
        raise PatchError(
            "The engine of this image was changed since the image was built.",
            evidence=tuple(words.strip().splitlines()[-8:]),
            fix="Start a new container from the image; if it stays so, pull or build "
            "the image again.",
        )


def image_command(image: ImageEngine) -> tuple[str, ...]:
    """Return what runs the engine; a plan's ``argv`` follows it."""
    return (image.python, "-I", "-m", "nvfp4_serve_engine", "serve")


def image_environment(
    image: ImageEngine, ours: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return what the image's own variables give the engine, of ``ours``."""
    return tuple((name, ours[name]) for name in image.environment if name in ours)


def _no_gpu(image: ImageEngine, host: Host) -> EngineError:
    return EngineError(
        f"No NVIDIA GPU can be used in this container, and its engine "
        f"(`{image.requirement}`) needs one.",
        evidence=(f"NVIDIA driver: {host.driver or 'not seen'}", *host.unusable),
        fix="Start it with `--gpus all` (CDI: `--device nvidia.com/gpu=all`; "
        "Jetson: `--runtime nvidia`), or take the image `cpu`.",
    )


def _too_many_gpus(image: ImageEngine, host: Host) -> EngineError:
    return EngineError(
        f"This is the image for machines without a GPU (`{image.requirement}`), and "
        f"the container has {len(host.gpus)}.",
        evidence=tuple(f"{gpu.uuid} {gpu.name}" for gpu in host.gpus),
        fix="Take the image for this GPU; or start the container without its GPUs, to "
        "serve on the CPU.",
    )


def _not_ours(path: Path, why: str) -> EngineError:
    return EngineError(
        f"`{path}` does not describe the engine of an image: {why}.",
        fix="Pull or build the image again; the file is written when it is built.",
    )
