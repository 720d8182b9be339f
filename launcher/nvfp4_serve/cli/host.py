"""`nvfp4-serve host`: say what this machine has."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from nvfp4_serve.cli.options import facts_option
from nvfp4_serve.host import Host, detect_host, facts_json, read_facts
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.host.findings import group_gpus, host_findings
from nvfp4_serve.host.types import Container, Fabric, Gpu
from nvfp4_serve.units import format_bytes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for `--facts`.")
@facts_option
def host(as_json: bool, facts: Path | None) -> None:
    """Say what this machine has, and what stands in the way of serving on it."""
    found = detect_host(with_container=True) if facts is None else read_facts(facts)
    if as_json:
        click.echo(json.dumps(_json(found), indent=2))
        return
    for line in _lines(found):
        click.echo(line)


def _json(found: Host) -> dict[str, object]:
    findings = [
        {"id": f.id, "severity": f.severity, "message": f.message, "fix": f.fix}
        for f in host_findings(found)
    ]
    return {**facts_json(found), "findings": findings}


def _lines(found: Host) -> Iterator[str]:
    for name, value in (*_machine(found), *_engine(found.container)):
        yield f"{name:<18} {value}"
    first = 0
    for kind in group_gpus(found.gpus):
        yield ""
        for name, value in _kind(kind):
            yield f"{name:<18} {value}"
        width = max(len(gpu.uuid) for gpu in kind)
        for index, gpu in enumerate(kind, first):
            yield f"  {f'gpu {index}':<16} {gpu.uuid:<{width}}{_free(gpu)}"
        first += len(kind)
    for finding in host_findings(found):
        yield ""
        yield f"{finding.severity.value}: {finding.message} [{finding.id}]"
        yield f"  hint: {finding.fix}"


def _machine(found: Host) -> Iterator[tuple[str, str]]:
    if not found.recorded:
        yield "facts", "written by hand, not measured"
    if found.note:
        yield "note", found.note
    surroundings = [
        word
        for word, holds in (("WSL", found.wsl), ("container", found.in_container))
        if holds
    ]
    yield "architecture", ", ".join([found.architecture, *surroundings])
    yield "CPUs", str(found.cpus)
    yield "memory nodes", str(found.numa_nodes)
    yield "memory", format_bytes(found.memory_total)
    yield "memory available", format_bytes(found.memory_available)
    yield "C++ compiler", found.cxx_compiler or "none"
    cuda = f", CUDA {capability_text(found.cuda_driver)}" if found.cuda_driver else ""
    yield "NVIDIA driver", f"{found.driver}{cuda}" if found.driver else "none"
    if not found.gpus:
        yield "GPUs", "none"


def _engine(container: Container | None) -> Iterator[tuple[str, str]]:
    if container is None:
        return
    if container.engine is None:
        yield "container engine", f"none: {container.reason}"
        return
    kind = [
        word
        for word, holds in (
            ("rootless", container.rootless),
            ("remote", container.remote),
        )
        if holds
    ]
    version = container.version or "of unknown version"
    yield (
        "container engine",
        ", ".join([f"{container.engine} {version}", *kind, str(container.address)]),
    )
    yield "GPUs attach by", f"{container.attach.value}: {container.reason}"


def _kind(kind: tuple[Gpu, ...]) -> Iterator[tuple[str, str]]:
    gpu = kind[0]
    yield "GPUs", f"{len(kind)} x {gpu.name}"
    yield "  capability", capability_text(gpu.compute_capability)
    yield "  memory", _memory(gpu, of_several=len(kind) > 1)
    if gpu.mig_parent is not None:
        yield "  MIG instance of", gpu.mig_parent
    yield "  PCIe", _same(kind, _pcie)
    yield "  NVLink", _same(kind, _nvlink)
    if gpu.fabric not in {None, Fabric.NOT_SUPPORTED}:
        yield "  fabric", _same(kind, lambda one: str(one.fabric))
    for line in dict.fromkeys(line for one in kind for line in one.not_known):
        yield "  not known", line


def _memory(gpu: Gpu, *, of_several: bool) -> str:
    if gpu.memory_total is not None:
        return format_bytes(gpu.memory_total) + (" each" if of_several else "")
    return "unified: the machine's" if gpu.integrated else "not known"


def _same(kind: tuple[Gpu, ...], say: Callable[[Gpu], str]) -> str:
    """Return what ``say`` says of each, once where it is the same."""
    return "; ".join(dict.fromkeys(map(say, kind)))


def _pcie(gpu: Gpu) -> str:
    if gpu.pcie_generation is None or gpu.pcie_width is None:
        return "not known"
    return f"generation {gpu.pcie_generation}, {gpu.pcie_width} lanes"


def _nvlink(gpu: Gpu) -> str:
    if gpu.nvlinks is None:
        return "not known"
    if gpu.nvlinks == 0:
        return "none"
    active = "unknown" if gpu.nvlinks_active is None else gpu.nvlinks_active
    return f"{active} of {gpu.nvlinks} links active"


def _free(gpu: Gpu) -> str:
    return "" if gpu.memory_free is None else f"  {format_bytes(gpu.memory_free)} free"
