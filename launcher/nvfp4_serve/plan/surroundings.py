"""The variables of the caller, which the engine gets. Pure."""

from collections.abc import Mapping
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.types import Reason
from nvfp4_serve.recipe.environment import Variables, check_environment

#: With these the log lacks what shows that the planned kernels run.
_SILENT: Final[Mapping[str, tuple[str, ...]]] = {
    "VLLM_LOGGING_LEVEL": ("WARNING", "WARN", "ERROR", "CRITICAL", "FATAL"),
    "VLLM_CONFIGURE_LOGGING": ("0",),
}


def variable_reasons(pairs: tuple[tuple[str, str], ...]) -> tuple[Reason, ...]:
    """Return a reason for every variable of the caller's: that it is set."""
    return tuple(
        Reason(
            f"{name}={value}", "It is set where the launcher runs.", "the environment"
        )
        for name, value in pairs
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
