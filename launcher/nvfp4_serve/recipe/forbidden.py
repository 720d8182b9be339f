"""What a recipe may never say: it is the user's to give, or the launcher's. Tables."""

import re
from collections.abc import Mapping
from typing import Final

_USER: Final = "it is the user's to give"
_OURS: Final = "the launcher gives it"
_LOCAL: Final = "it names something of one machine or one network"
_SECRET: Final = "secrets do not belong in a file"  # noqa: S105 - not a password

#: vLLM's flags, by name, and why.
_FLAGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("--trust-remote-code", "--allowed-local-media-path"), _USER),
    **dict.fromkeys(
        (
            *("--host", "--port", "--uds", "--served-model-name", "--root-path"),
            *("--revision", "--model", "--config", "--hf-config-path"),
        ),
        _OURS,
    ),
    **dict.fromkeys(("--api-key", "--hf-token"), _SECRET),
    **dict.fromkeys(
        (
            *("--tokenizer", "--download-dir", "--chat-template", "--middleware"),
            *("--tool-parser-plugin", "--reasoning-parser-plugin", "--lora-modules"),
            *("--logits-processors", "--worker-cls", "--worker-extension-cls"),
            *("--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--headless"),
            *("--master-addr", "--master-port", "--node-rank"),
            *("--data-parallel-address", "--data-parallel-rank"),
            *("--code-revision", "--tokenizer-revision"),
        ),
        _LOCAL,
    ),
}
_VALUES: Final[Mapping[tuple[str, str], str]] = {
    ("--load-format", "dummy"): "it loads no weights",
}
#: Variables that decide which code runs, which machine is asked, or which GPUs.
_VARIABLES: Final = re.compile(
    r"PATH|LD_\w+|PYTHON\w*|HOME|\w*_PROXY|HF_\w+|CUDA_VISIBLE_DEVICES|"
    r"VLLM_PLUGINS|VLLM_ALLOW_INSECURE_SERIALIZATION|VLLM_USE_MODELSCOPE|"
    r"VLLM_CONFIG_ROOT|VLLM_CACHE_ROOT|VLLM_HOST_IP|VLLM_PORT"
)
_SECRETS: Final = re.compile(r"(^|_)(TOKEN|API_KEY|SECRET\w*|PASSWORD|KEY)$")
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def why_no_flag(name: str, value: object) -> str | None:
    """Return why a recipe may not give ``name`` the ``value``; None: it may."""
    if not name.startswith("--"):
        return "a flag is written with two hyphens and its whole name"
    if "=" in name or "." in name or "_" in name:
        return "write the flag's name alone, with hyphens; an object holds its keys"
    positive = f"--{name.removeprefix('--no-')}"
    if name in _FLAGS or positive in _FLAGS:
        return f"not in a recipe: {_FLAGS.get(name) or _FLAGS[positive]}"
    if isinstance(value, str) and (name, value) in _VALUES:
        return f"not in a recipe: {_VALUES[name, value]}"
    return None


def why_no_variable(name: str) -> str | None:
    """Return why a recipe may not set the variable ``name``; None: it may."""
    if not _NAME.fullmatch(name):
        return "a variable's name has capitals, digits and underscores"
    if _SECRETS.search(name):
        return f"not in a recipe: {_SECRET}"
    if _VARIABLES.fullmatch(name):
        return "not in a recipe: it says which code runs, or names one machine"
    return None
