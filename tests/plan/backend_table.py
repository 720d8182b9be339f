"""The golden table of kernels; ``python -m plan.backend_table`` in tests writes it."""

from pathlib import Path
from typing import Final

from nvfp4_serve.plan.backends import Backends, Target, choose_backends
from nvfp4_serve.recipe.backend_rules import read_rules
from plan.situations import KINDS, targets

GOLDEN: Final = Path(__file__).with_name("backends.txt")


def table_text() -> str:
    """Return a block for each GPU, and a line for each kind of checkpoint on it."""
    rules = read_rules()
    lines = []
    for target in targets():
        lines += ["", _heading(target)]
        for name, kind in KINDS.items():
            lines.append(_line(name, choose_backends(kind, target, rules)))
    return "\n".join(lines[1:]) + "\n"


def _heading(target: Target) -> str:
    spread = ", experts spread" if target.expert_parallel else ""
    return f"{target.capability_text}, {target.gpus} GPU{spread}"


def _line(name: str, chosen: Backends) -> str:
    kernels = [
        f"{part}: {' and '.join(names)}" for part, names in chosen.expected.items()
    ]
    flags = [
        " ".join(choice.words) if choice.is_flag else f"{choice.name}={choice.value}"
        for choice in chosen.choices
    ]
    return f"  {name:<26} {'; '.join(kernels)} | {' '.join(flags) or '-'}"


if __name__ == "__main__":
    GOLDEN.write_text(table_text())
