"""What stands around the flags: image, revision, variables. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.environment import check_environment as dead_variables
from nvfp4_serve.recipe.forbidden import why_no_variable
from nvfp4_serve.recipe.foreign.secrets import is_secret_name
from nvfp4_serve.recipe.foreign.types import Launch, Setting, info, warning

_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")
#: A tag that names a version: it holds two numbers with a point between them, or a
#: date, or a commit.
_FIXED_TAG: Final = re.compile(r"\d+\.\d+|\d{8}|^[0-9a-f]{7,40}$")
_FLOATING: Final = re.compile(r"latest|nightly$|^main$|^dev$")
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
#: Variables of the machine, not of the model; a recipe has none of them.
_OF_THE_MACHINE: Final = re.compile(
    r"(NCCL_(IB_HCA|SOCKET_IFNAME|IB_GID_INDEX)|GLOO_SOCKET_IFNAME|TP_SOCKET_IFNAME"
    r"|MN_IF_NAME|UCX_NET_DEVICES|OMPI_.*|CUDA_VISIBLE_DEVICES|NVIDIA_.*|HF_HOME"
    r"|HF_HUB_.*|HUGGINGFACE_.*|TRANSFORMERS_.*|VLLM_HOST_IP|PATH|HOME|TZ)"
)


def check_image(launch: Launch, label: str) -> Iterator[Finding]:
    """Yield what is wrong with the image's name."""
    image = launch.image
    if image is None or _DIGEST.search(image):
        return
    at = f"{label}:{launch.image_line}"
    _, _, tag = image.rpartition("/")[2].partition(":")
    if not tag or _FLOATING.search(tag) or not _FIXED_TAG.search(tag):
        told = f"tag `{tag}`" if tag else "no tag, which means `latest`"
        yield warning(
            "image-floating",
            f"{at}: the image `{image}` has {told}: tomorrow it is another program.",
            "Name a version and its digest, `NAME:VERSION@sha256:...`.",
        )
    else:
        yield warning(
            "image-without-digest",
            f"{at}: the image `{image}` has no digest; a tag can be moved.",
            "Name its digest, `NAME:VERSION@sha256:...`.",
        )


def check_revision(launch: Launch, model: str, label: str) -> Iterator[Finding]:
    """Yield what is wrong with the revision of the checkpoint."""
    revision = launch.revision
    if revision is None:
        yield warning(
            "revision-not-pinned",
            f"{label}: no revision of `{model}` is given; what was tried may not be "
            "what is loaded.",
            "Write the commit into `model.revision`.",
        )
    elif not COMMIT.fullmatch(revision):
        yield warning(
            "revision-not-a-commit",
            f"{label}: the revision `{revision}` is a branch or a tag, which can be "
            "moved; it is not in the recipe.",
            "Write the commit into `model.revision`.",
        )


def check_environment(
    launch: Launch, label: str
) -> tuple[tuple[Setting, ...], tuple[Finding, ...]]:
    """Return the variables for the recipe, and what is wrong with the others."""
    findings: list[Finding] = []
    kept: dict[str, Setting] = {}
    left = [s for s in launch.environment if _OF_THE_MACHINE.fullmatch(s.name)]
    findings += _left_out(left, label)
    for setting in launch.environment:
        if setting in left:
            continue
        against = _against(setting, label)
        before = kept.pop(setting.name, None)
        if before is not None and before.value != setting.value and against is None:
            findings.append(_twice(before, setting, label))
        if against is None:
            kept[setting.name] = setting
        else:
            findings.append(against)
    return tuple(kept.values()), tuple(findings)


def _left_out(left: list[Setting], label: str) -> Iterator[Finding]:
    if left:
        shown = ", ".join(f"`{s.name}` (line {s.line})" for s in left)
        yield info(
            "variables-of-the-machine",
            f"{label}: not in the recipe, for they are about one machine: {shown}.",
            "Set them where the engine is started, if it needs them.",
        )


def _twice(before: Setting, after: Setting, label: str) -> Finding:
    return warning(
        "variable-given-twice",
        f"{label}:{after.line}: `{after.name}={after.value}` disagrees with "
        f"`{before.value}` of line {before.line}; the last one counts.",
        "Leave one of them out.",
    )


def _against(setting: Setting, label: str) -> Finding | None:
    at = f"{label}:{setting.line}"
    name = setting.name
    if is_secret_name(name):
        is_reference = setting.value.startswith("$") or not setting.value
        return (info if is_reference else warning)(
            "secret-in-text",
            f"{at}: `{name}` "
            + ("is asked for; " if is_reference else "is given in the text; it is ")
            + "neither shown nor kept.",
            "Set it where the engine is started. Where the file was shared with the "
            "value in it, replace the value.",
        )
    for fault in dead_variables(((name, setting.value),)):
        return warning(
            "variable-dead",
            f"{at}: {fault}.",
            "Leave it out; it is not in the recipe.",
        )
    if why := why_no_variable(name):
        return warning(
            "not-for-a-recipe",
            f"{at}: `{name}`: {why}.",
            "Set it where the engine is started, if it needs it.",
        )
    if "$" in setting.value:
        return warning(
            "variable-of-the-shell",
            f"{at}: `{name}` is `{setting.value}`, which only a shell knows; it is not "
            "in the recipe.",
            "Set it where the engine is started.",
        )
    return None
