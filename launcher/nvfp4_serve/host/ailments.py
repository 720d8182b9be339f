"""What stands in the way of an engine on a machine as it is doing now. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.host.condition import Condition
from nvfp4_serve.host.types import Host
from nvfp4_serve.units import GIB, format_bytes

#: A GB10 that is stuck in a low-power state ran at 799 MHz with 96 % to do; a healthy
#: one runs at 2.4 GHz. Source: model-serving-minefield, trap 124.
_SLOW: Final = 1200  # MHz
_BUSY: Final = 50  # percent
#: Swap that is used beyond this says that the memory was too small before.
_SWAPPED: Final = GIB
#: Part of the machine's memory.
_MUCH_CACHE: Final = 0.25
_RTX_PRO: Final = (12, 0)
#: With these on its command line the kernel leaves devices to each other.
_PASSED_THROUGH: Final = re.compile(r"\b(amd_iommu=off|intel_iommu=off|iommu=(off|pt))")


def condition_findings(host: Host, condition: Condition) -> tuple[Finding, ...]:
    """Return what is worth mending before an engine starts, the worst first."""
    found = (
        *_orphans(condition),
        *(_unified(host, condition) if any(g.integrated for g in host.gpus) else ()),
        *_slow(host, condition),
        *_peers(host, condition),
        *(_wsl() if host.wsl else ()),
    )
    order = list(Severity)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def _orphans(condition: Condition) -> Iterator[Finding]:
    if condition.orphans:
        listed = ", ".join(
            f"{one.name} (pid {one.pid}, {format_bytes(one.resident)})"
            for one in condition.orphans
        )
        pids = " ".join(str(one.pid) for one in condition.orphans)
        yield Finding(
            "engine-orphans",
            Severity.ERROR,
            f"Engines have ended and left processes that hold memory: {listed}.",
            f"End them: `kill {pids}`, and `kill -9` only where that does not help; "
            "then wait until the memory is back.",
        )


def _unified(host: Host, condition: Condition) -> Iterator[Finding]:
    """Yield what matters where GPU and CPU share the memory (GB10, Thor)."""
    if (condition.swap_used or 0) > _SWAPPED:
        yield Finding(
            "unified-swap-used",
            Severity.WARNING,
            f"{format_bytes(condition.swap_used or 0)} are swapped out, on a machine "
            "whose GPU shares its memory: it can stop answering for minutes.",
            "Stop what takes the memory; `sudo swapoff -a && sudo swapon -a` brings "
            "the rest back.",
        )
    cache = condition.page_cache or 0
    if cache > _MUCH_CACHE * host.memory_total:
        yield Finding(
            "unified-page-cache",
            Severity.INFO,
            f"{format_bytes(cache)} of files are cached in the memory that the GPU "
            "shares. CUDA counts them as used; they are given back late under load.",
            "Before loading a large checkpoint: `sync; echo 3 | sudo tee "
            "/proc/sys/vm/drop_caches`.",
        )


def _slow(host: Host, condition: Condition) -> Iterator[Finding]:
    names = {gpu.uuid: gpu.name for gpu in host.gpus}
    for clock in condition.clocks:
        if clock.busy >= _BUSY and 0 < clock.sm < _SLOW:
            yield Finding(
                "gpu-slow",
                Severity.WARNING,
                f"{names.get(clock.gpu, clock.gpu)} runs at {clock.sm} MHz while it "
                f"is {clock.busy} % busy.",
                "Look at its power supply and temperature (`nvidia-smi -q -d "
                "PERFORMANCE`). A GB10 that is stuck so was mended by taking it off "
                "the mains for a minute, and by nothing less.",
            )


def _peers(host: Host, condition: Condition) -> Iterator[Finding]:
    """Yield that GPUs which talk over PCIe may hang behind an IOMMU."""
    alike = [g for g in host.gpus if g.compute_capability == _RTX_PRO]
    if len(alike) < 2 or any(gpu.nvlinks for gpu in alike):
        return
    if not condition.iommu_groups or _PASSED_THROUGH.search(
        condition.kernel_command_line
    ):
        return
    yield Finding(
        "pcie-peers-behind-iommu",
        Severity.WARNING,
        f"{len(alike)} GPUs talk over PCIe, and the IOMMU keeps devices apart in "
        f"{condition.iommu_groups} groups. NCCL hangs on some such machines "
        "(vllm#33041, nccl#1999).",
        "If an engine on several GPUs hangs in its start: set NCCL_P2P_DISABLE=1 and "
        "add `-- --disable-custom-all-reduce`; or start the kernel with `iommu=pt` and "
        "turn ACS off in the firmware.",
    )


def _wsl() -> Iterator[Finding]:
    yield Finding(
        "wsl",
        Severity.INFO,
        "This is Windows' Linux: it has the part of the memory that Windows lends it "
        "(half, unless `.wslconfig` says otherwise), and pins none for transfers.",
        "Set `memory=` in `.wslconfig`; VLLM_WSL2_ENABLE_PIN_MEMORY=1 has vLLM pin "
        "memory all the same.",
    )
