"""What `doctor` looks at. Each check asks one room; or it is said why it cannot."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.cli.image_checks import image_checks
from nvfp4_serve.errors import HostError, ServeError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host import Host, detect_host, read_facts
from nvfp4_serve.host.ailments import condition_findings
from nvfp4_serve.host.condition import read_condition
from nvfp4_serve.host.disk import existing, hub_cache
from nvfp4_serve.host.findings import host_findings
from nvfp4_serve.plan import Request, make_plan
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.resources import data_folder
from nvfp4_serve.runtime.engine import find_engine, verify_engine
from nvfp4_serve.runtime.identity import engine_spec
from nvfp4_serve.runtime.image import check_machine, read_image, verify_image
from nvfp4_serve.runtime.instances import list_instances
from nvfp4_serve.runtime.places import engines_folder
from nvfp4_serve.runtime.port import check_free
from nvfp4_serve.units import GIB, format_bytes

#: Less than this on the disk of the Hub's cache holds no checkpoint worth a GPU.
_SMALL_DISK: Final = 20 * GIB
_MACHINE: Final = "driver, GPUs, container engine"


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands on the command line of `doctor`."""

    model: str | None
    revision: str | None
    image: str | None
    port: int
    facts: Path | None


@dataclass(slots=True)
class Report:
    """What was found, in the order in which it was looked for."""

    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    not_checked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def may_serve(self) -> bool:
        """True where nothing was found that forbids it."""
        return all(f.severity is not Severity.ERROR for f in self.findings)

    def add(self, what: str, findings: Iterable[Finding]) -> None:
        """Note that ``what`` was looked at, and what came of it."""
        self.findings += findings
        self.checked.append(what)

    def skip(self, what: str, why: str) -> None:
        """Note that ``what`` could not be looked at."""
        self.not_checked.append((what, why))


def examine(asked: Asked) -> Report:
    """Return what stands in the way of serving.

    Raises:
        HostError: The file of facts cannot be read.
    """
    report = Report()
    host = _host(asked, report)
    if host is not None:
        report.add(_MACHINE, _facts(host))
        _now(host, asked, report)
        for what, found in image_checks(host, asked.image, described=bool(asked.facts)):
            if isinstance(found, str):
                report.skip(what, found)
            else:
                report.add(what, found)
        _model(host, asked, report)
    order = list(Severity)
    report.findings.sort(key=lambda finding: order.index(finding.severity))
    return report


def _host(asked: Asked, report: Report) -> Host | None:
    if asked.facts is not None:
        return read_facts(asked.facts)
    try:
        return detect_host(with_container=True)
    except HostError as error:
        # That the driver is broken is what a doctor is asked for.
        report.add(_MACHINE, (_as(error),))
        report.skip("everything else", "the machine cannot be described")
        return None


def _facts(host: Host) -> Iterator[Finding]:
    yield from host_findings(host)
    if not host.gpus and host.nvml_gpus is None and not host.gpus_hidden:
        yield Finding(
            "no-nvidia-driver",
            Severity.INFO,
            "There is no NVIDIA driver here; checkpoints are served on the CPU.",
            "On a machine with an NVIDIA GPU, install driver R580 or newer.",
        )
    container = host.container
    if container and container.engine is None and container.problem is None:
        yield Finding(
            "no-container-engine",
            Severity.INFO,
            f"There is no container engine: {container.reason}.",
            "`--runtime local` needs none; for `--runtime docker`, install Docker, or "
            "Podman 5.4 or newer.",
        )


def _now(host: Host, asked: Asked, report: Report) -> None:
    """Look at what a file of facts does not hold."""
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        (
            "memory, left-over engines, clocks, IOMMU",
            lambda: condition_findings(host, read_condition(host.gpus)),
        ),
        ("engine", lambda: _engine(host)),
        ("disk", _disk),
        (f"port {asked.port}", lambda: _port(asked.port)),
    )
    for what, look in checks:
        if asked.facts is not None:
            report.skip(what, "the machine is described by a file")
        else:
            report.add(what, look())


def _engine(host: Host) -> Iterator[Finding]:
    try:
        if inside := read_image():
            check_machine(inside, host)
            verify_image(inside, data_folder("patches") / "series.py")
            return
        spec = engine_spec("cuda" if host.gpus else "cpu")
        engine = find_engine(spec)
        if engine is not None:
            verify_engine(engine, spec)
            return
    except ServeError as error:
        yield _as(error)
        return
    folder = existing(engines_folder())
    free = shutil.disk_usage(folder).free
    enough = free >= spec.installed_bytes
    yield Finding(
        "engine-not-installed",
        Severity.INFO if enough else Severity.WARNING,
        f"The engine {spec.distribution} {spec.version} is not installed; it takes "
        f"{format_bytes(spec.installed_bytes)} of the {format_bytes(free)} that are "
        f"free in `{folder}`.",
        "`nvfp4-serve engine install` installs it; `serve` does so too."
        if enough
        else "Free some space, or set XDG_DATA_HOME to a folder on a larger disk.",
    )


def _disk() -> Iterator[Finding]:
    folder = existing(hub_cache())
    free = shutil.disk_usage(folder).free
    if free < _SMALL_DISK:
        yield Finding(
            "hub-disk-small",
            Severity.WARNING,
            f"{format_bytes(free)} are free where checkpoints are downloaded to "
            f"(`{folder}`).",
            "Free some space, or set HF_HUB_CACHE to a folder on a larger disk.",
        )
    if not os.access(folder, os.W_OK):
        yield Finding(
            "hub-cache-closed",
            Severity.WARNING,
            f"`{folder}` is not yours to write; nothing can be downloaded.",
            "Set HF_HUB_CACHE to a folder that is.",
        )


def _port(port: int) -> Iterator[Finding]:
    try:
        check_free(f"127.0.0.1:{port}", list_instances())
    except ServeError as error:
        yield Finding("port-taken", Severity.WARNING, error.problem, error.fix)


def _model(host: Host, asked: Asked, report: Report) -> None:
    if asked.model is None:
        report.skip("a checkpoint", "no MODEL was named")
        return
    report.add(f"checkpoint {asked.model}", _fits(host, asked))


def _fits(host: Host, asked: Asked) -> Iterator[Finding]:
    try:
        layout = read_layout(read_checkpoint(str(asked.model), revision=asked.revision))
        yield from layout.findings
        if all(f.severity is not Severity.ERROR for f in layout.findings):
            make_plan(layout, host, Request(port=asked.port), load_knowledge())
    except ServeError as error:
        yield _as(error)
        return


def _as(error: ServeError) -> Finding:
    """Return an error as a finding: its class is its id."""
    evidence = "".join(f" {line}" for line in error.evidence)
    return Finding(
        type(error).__name__.removesuffix("Error").lower(),
        Severity.ERROR,
        f"{error.problem}{evidence}",
        error.fix,
    )
