"""What `doctor` asks of an image, and of a container that is made from it."""

from collections.abc import Iterator

from nvfp4_serve.cli.container import connect, find_engine
from nvfp4_serve.errors import ServeError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.types import Container, Host
from nvfp4_serve.runtime.container_body import gpu_request
from nvfp4_serve.runtime.container_failures import start_error
from nvfp4_serve.runtime.containers import (
    EngineGoneError,
    EngineRefusedError,
    Image,
)
from nvfp4_serve.runtime.probe import probe_gpus
from nvfp4_serve.runtime.pull import check_architecture, find_image

#: CUDA that the image was made with, ``13.0``.
_CUDA = "com.nvidia.cuda.toolkit"
_IMAGE, _INSIDE = "image", "GPUs inside a container"


def image_checks(
    host: Host, ref: str | None, *, described: bool
) -> Iterator[tuple[str, tuple[Finding, ...] | str]]:
    """Yield each check, and its findings or why it could not be made.

    Args:
        host: The machine.
        ref: The image; None: none was named.
        described: The machine is one that a file describes.
    """
    if ref is None or described:
        why = "no `--image` was named" if ref is None else "the machine is described"
        yield from ((_IMAGE, why), (_INSIDE, why))
        return
    try:
        container = find_engine(host)
        image = find_image(connect(container), ref)
    except ServeError as error:
        yield from ((_IMAGE, str(error)), (_INSIDE, str(error)))
        return
    if image is None:
        why = f"{ref} is not here; `docker pull` fetches it"
        yield from ((_IMAGE, why), (_INSIDE, why))
        return
    yield _IMAGE, tuple(_image(host, image))
    if not host.gpus:
        yield _INSIDE, "this machine has none"
    else:
        yield _INSIDE, tuple(_inside(host, container, image))


def _image(host: Host, image: Image) -> Iterator[Finding]:
    try:
        check_architecture(image, host.architecture)
    except ServeError as error:
        yield Finding("image-foreign", Severity.ERROR, error.problem, error.fix)
    wanted = _version(image.labels.get(_CUDA, ""))
    if wanted and host.cuda_driver and host.cuda_driver < wanted:
        yield Finding(
            "driver-too-old-for-image",
            Severity.ERROR,
            f"The image {image.ref} needs CUDA {capability_text(wanted)}; driver "
            f"{host.driver} speaks {capability_text(host.cuda_driver)}.",
            "Install a newer driver, or take an image with an older CUDA.",
        )


def _version(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    minor = minor.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _inside(host: Host, container: Container, image: Image) -> Iterator[Finding]:
    wanted = frozenset(gpu.uuid for gpu in host.gpus)
    try:
        request = gpu_request(tuple(sorted(wanted)), container)
        seen, said = probe_gpus(connect(container), image, request)
    except EngineRefusedError as refused:
        error = start_error("nvfp4-serve-probe", refused)
        yield Finding("gpus-not-in-container", Severity.ERROR, error.problem, error.fix)
        return
    except ServeError as error:
        yield Finding("gpus-not-in-container", Severity.ERROR, error.problem, error.fix)
        return
    except EngineGoneError as error:
        yield Finding(
            "engine-gone",
            Severity.ERROR,
            f"The container engine broke off: {error}.",
            "Look at what `docker info` says.",
        )
        return
    if missing := wanted - seen:
        yield Finding(
            "gpus-not-in-container",
            Severity.ERROR,
            f"A container that was given {len(wanted)} GPUs does not see "
            f"{len(missing)} of them: {', '.join(sorted(missing))}. It says: "
            f"{said.strip()[:300] or 'nothing'}",
            "Compare with `nvidia-smi -L` here; then look at the toolkit (`sudo "
            "nvidia-ctk config`) or write the CDI specs again.",
        )
