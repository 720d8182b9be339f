"""What a right start looks like, for a layout on a kind of machine. Pure."""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.plan.backends import LINEAR
from nvfp4_serve.plan.scales import SCALED_WRONGLY
from nvfp4_serve.plan.types import Expect

_SCHEMES: Final = frozenset({"NVFP4", "W4A16_NVFP4"})

#: What each kind of layer says when it got the kernel that was planned.
#: On the CPU: patches/plugin, ``linear.py`` and ``experts.py``.
#: On GPUs: vLLM 0.32.0, ``kernels/linear/__init__.py``, ``init_nvfp4_linear_kernel``,
#: and ``fused_moe/oracle/nvfp4.py``, ``_make_log_backend``.
_CPU_LINEAR: Final = r"Using CpuDequantizedNvFp4LinearKernel for NVFP4 GEMM"
_CPU_EXPERTS: Final = r"NVFP4 experts are dequantised once at load"
_GPU_LINEAR: Final = r"Using {} for NVFP4 GEMM"
_GPU_EXPERTS: Final = r"Using '{}' NvFp4 MoE backend"
#: What the adapter says when it shows the weights otherwise than they are stored.
#: patches/plugin, ``adapter.py``.
_ADAPTED: Final = r"tensors are shown to vLLM under the layout that it knows"
#: Right, and many times slower than anything that a plan would choose.
_EMULATION: Final = r"Using \W*(EMULATION|EmulationNvFp4LinearKernel)\b"


def expect(
    layout: Layout, *, on_gpu: bool, kernels: Mapping[str, tuple[str, ...]]
) -> Expect:
    """Return the log lines and answers that show a right start.

    Args:
        layout: The checkpoint.
        on_gpu: It is served on GPUs.
        kernels: The kernels that vLLM must say it uses, for ``moe`` and ``linear``;
            where nothing is told, any will do.
    """
    must: list[str] = []
    if _is_nvfp4(layout, *LINEAR):
        must += _lines("linear", kernels) if on_gpu else [_CPU_LINEAR]
    if _is_nvfp4(layout, "routed_experts"):
        must += _lines("moe", kernels) if on_gpu else [_CPU_EXPERTS]
    if layout.rewrites:
        must.append(_ADAPTED)
    return Expect(
        log_must=tuple(must),
        log_must_not=(_EMULATION, *(SCALED_WRONGLY if on_gpu else ())),
        canary=str(PurePath(layout.folder) / "canary.json") if layout.folder else None,
    )


def _lines(part: str, kernels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return a pattern for each kernel of a part; one for any where none is told."""
    line = {"linear": _GPU_LINEAR, "moe": _GPU_EXPERTS}[part]
    names = kernels.get(part, ())
    return [line.format(re.escape(name)) for name in names] or [line.format(r"\w+")]


def _is_nvfp4(layout: Layout, *classes: str) -> bool:
    return any(
        scheme in _SCHEMES
        for name in classes
        for scheme in layout.schemes.get(name, "").split("+")
    )
