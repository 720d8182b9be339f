"""Which rows of the known-bad list hold for somebody else's recipe. Pure."""

import re
from dataclasses import replace
from typing import Final

from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan.case import Case, read_flags
from nvfp4_serve.plan.flags import Spellings
from nvfp4_serve.plan.known_bad import holding
from nvfp4_serve.recipe.foreign.arguments import Argument
from nvfp4_serve.recipe.foreign.document import Imported, machine_of, variables
from nvfp4_serve.recipe.foreign.types import Machine
from nvfp4_serve.recipe.known_bad import SHIPPED, KnownBad
from nvfp4_serve.recipe.types import Arg, ArgValue

#: vLLM's own image says its version; other people's tags say theirs.
_IMAGE: Final = re.compile(r"(?:.*/)?vllm/vllm-openai:v?(\d+\.\d+\.\d+)(?![\d.])")
#: Rows that say what the importer has said already, with the line.
_SAID: Final = {
    "image-floating": "image-floating",
    "fp4-indexer-sm12x": "fp4-indexer-cache",
}
#: The only GPU of 12.1 is that of GB10, and it shares the machine's memory.
_UNIFIED: Final = (12, 1)


def known_bad_of(
    imported: Imported,
    rows: tuple[KnownBad, ...],
    spellings: Spellings,
    host: Host | None = None,
) -> tuple[Finding, ...]:
    """Return what is known to go badly with an imported recipe.

    It is held against the engine that we ship, and against the image of the source.
    The headers of the checkpoint are not known, so no row that asks for them holds.

    Args:
        imported: The recipe.
        rows: The list.
        spellings: Of vLLM's flags.
        host: The machine, where a file describes it.
    """
    said = {finding.id for finding in imported.findings}
    rows = tuple(row for row in rows if _SAID.get(row.id) not in said)
    here = _case(imported, spellings, host)
    ours = holding(rows, here)
    image = imported.launch.image
    if image is None:
        return tuple(map(_here, ours))
    version = _IMAGE.match(image)
    there = replace(
        here,
        image=image,
        versions={"vllm": version[1]} if version else {},
        env=variables(imported.launch.environment),
    )
    theirs = (row for row in holding(rows, there) if row not in ours)
    return (*map(_here, ours), *(_there(row, image) for row in theirs))


def _case(imported: Imported, spellings: Spellings, host: Host | None) -> Case:
    """Return what our engine would run."""
    machine = machine_of(imported)
    words = tuple(word for item in imported.arguments for word in _words(item))
    return Case(
        host=host,
        gpus=_gpus(machine) if host is None else host.gpus,
        flags=read_flags(words, spellings),
        env=variables(imported.environment),
        versions=SHIPPED,
        nodes=machine.nodes,
        model=imported.model,
        revision=imported.launch.revision,
    )


def _words(item: Argument) -> tuple[str, ...]:
    value: ArgValue = [*item.value] if isinstance(item.value, list) else item.value
    return Arg(value, why="", source="").words(item.name)


def _gpus(machine: Machine) -> tuple[Gpu, ...]:
    """Return the GPUs as far as a foreign recipe says what they are."""
    if machine.compute_capability is None:
        return ()
    major, minor = map(int, machine.compute_capability.split("."))
    return tuple(
        Gpu(
            uuid=f"GPU-{index}",
            name=machine.name or machine.compute_capability,
            compute_capability=(major, minor),
            memory_total=None,
            memory_free=None,
            integrated=(major, minor) == _UNIFIED,
        )
        for index in range(machine.gpus or 1)
    )


def _here(row: KnownBad) -> Finding:
    is_refused = row.severity == "refuse"
    return Finding(
        f"known-bad:{row.id}",
        Severity.ERROR if is_refused else Severity.WARNING,
        f"{row.symptom} (known bad: {row.id}; source: {row.source})",
        row.instead,
    )


def _there(row: KnownBad, image: str) -> Finding:
    return Finding(
        f"known-bad:{row.id}",
        Severity.WARNING,
        f"In the image `{image}` that the source names: {row.symptom} "
        f"(known bad: {row.id}; source: {row.source})",
        row.instead,
    )
