"""What was imported, without the secrets of the text that it came from. Pure."""

from dataclasses import replace

from nvfp4_serve.recipe.foreign.arguments import Argument, Arguments, value_words
from nvfp4_serve.recipe.foreign.document import Imported
from nvfp4_serve.recipe.foreign.secrets import (
    hidden,
    holds_secret,
    is_secret_name,
    redact,
)
from nvfp4_serve.recipe.foreign.types import Launch, Setting, warning


def told_secrets(launch: Launch, arguments: Arguments) -> frozenset[str]:
    """Return what the names say is secret, whatever it looks like in the text."""
    values = [s.value for s in launch.environment if is_secret_name(s.name)]
    for argument in arguments.given:
        if is_secret_name(argument.name):
            values += value_words(argument.value)
    return hidden(values)


def without_secrets(imported: Imported, secrets: frozenset[str]) -> Imported:
    """Return ``imported`` without a secret, and without the raw text.

    A flag or variable that repeats one is left out and told, not changed in silence.
    """
    told = [
        *((a.name, a.line) for a in imported.arguments if _repeats(a, secrets)),
        *((s.name, s.line) for s in imported.environment if _repeats(s, secrets)),
    ]
    found = [
        warning(
            "secret-in-text",
            f"{imported.label}:{line}: the value of `{name}` repeats a secret of the "
            "text; it is neither shown nor kept.",
            "Take the secret out of the text, and import it again.",
        )
        for name, line in told
    ]
    findings = [
        replace(
            finding,
            message=redact(finding.message, secrets),
            fix=redact(finding.fix, secrets),
        )
        for finding in imported.findings
    ]
    launch = imported.launch
    return replace(
        imported,
        arguments=tuple(a for a in imported.arguments if not _repeats(a, secrets)),
        environment=tuple(s for s in imported.environment if not _repeats(s, secrets)),
        findings=(*found, *findings),
        launch=Launch(
            words=(),
            image=redact(launch.image, secrets) if launch.image else None,
            revision=launch.revision,
            least_vllm=launch.least_vllm,
            machine=launch.machine,
        ),
    )


def _repeats(item: Argument | Setting, secrets: frozenset[str]) -> bool:
    text = item.value if isinstance(item, Setting) else item.shown
    return holds_secret(text, secrets)
