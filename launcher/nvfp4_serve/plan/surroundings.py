"""The variables that the engine would inherit. Pure."""

from collections.abc import Iterator

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.types import Reason
from nvfp4_serve.recipe.environment import Variables, check_environment


def check_variables(pairs: tuple[tuple[str, str], ...], variables: Variables) -> None:
    """Refuse variables that vLLM does not read; all of them at once.

    Raises:
        UsageError: With what replaced each of them.
    """
    faults = check_environment(pairs, variables)
    if faults:
        names = ", ".join(f"`{fault.partition(':')[0]}`" for fault in faults)
        raise UsageError(
            f"The environment sets {names}, which vLLM {variables.vllm} does not read.",
            evidence=faults,
            fix="Unset it (`env -u NAME nvfp4-serve ...`), and give the flag that "
            "replaced it after `--`.",
        )


def inherited_reasons(pairs: tuple[tuple[str, str], ...]) -> Iterator[Reason]:
    """Yield a reason for every variable that the engine gets from its caller."""
    for name, value in pairs:
        yield Reason(f"{name}={value}", "It is set already.", "the environment")
