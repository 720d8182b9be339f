"""The variables of the caller, which the engine gets, and what hangs on them. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.plan.types import Reason, Request
from nvfp4_serve.recipe.environment import Variables, check_environment

#: With these the log lacks what shows that the planned kernels run.
_SILENT: Final[Mapping[str, tuple[str, ...]]] = {
    "VLLM_LOGGING_LEVEL": ("WARNING", "WARN", "ERROR", "CRITICAL", "FATAL"),
    "VLLM_CONFIGURE_LOGGING": ("0",),
}
_LONGER: Final = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


def variable_reasons(pairs: tuple[tuple[str, str], ...]) -> tuple[Reason, ...]:
    """Return a reason for every variable of the caller's: that it is set."""
    return tuple(
        Reason(
            f"{name}={value}", "It is set where the launcher runs.", "the environment"
        )
        for name, value in pairs
    )


def too_long(
    layout: Layout, request: Request, flags: frozenset[str]
) -> Iterator[Finding]:
    """Yield that a context is longer than what the model was made for.

    Args:
        layout: The checkpoint.
        request: With the context that was asked for, by the user or a recipe.
        flags: All that were asked for.

    Source:
        vLLM 0.32.0, config/model.py, ``_get_and_verify_max_len``; scaled positions
        (RoPE) may allow more than config.json's number.
    """
    made, wanted = layout.max_position_embeddings, request.max_model_len
    if made is None or wanted is None or wanted <= made or "--hf-overrides" in flags:
        return
    if dict(request.environment).get(_LONGER, "0").lower() not in {"1", "true"}:
        yield Finding(
            "context-beyond-the-model",
            Severity.WARNING,
            f"The context is to be {wanted} tokens, and config.json says that the "
            f"model was made for {made}; vLLM refuses that, but where the config "
            "scales its positions.",
            f"Ask for {made} tokens, or scale the positions with `-- --hf-overrides`; "
            f"`{_LONGER}=1` forces it, and answers may be wrong.",
        )


def check_variables(pairs: tuple[tuple[str, str], ...], variables: Variables) -> None:
    """Refuse variables that vLLM does not read, all of them at once, or must not.

    Raises:
        UsageError: With what replaced each of them; or its log would say too little.
    """
    for name, value in pairs:
        if value.upper() in _SILENT.get(name, ()):
            raise UsageError(
                f"The environment sets `{name}={value}`; the engine's log would not "
                "show which kernels run.",
                fix=f"Unset it: `env -u {name} nvfp4-serve ...`.",
            )
    faults = check_environment(pairs, variables)
    if faults:
        names = ", ".join(f"`{fault.partition(':')[0]}`" for fault in faults)
        raise UsageError(
            f"The environment sets {names}, which vLLM {variables.vllm} does not read.",
            evidence=faults,
            fix="Unset it (`env -u NAME nvfp4-serve ...`), and give the flag that "
            "replaced it after `--`.",
        )
