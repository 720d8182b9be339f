"""Which kernels run the routed experts: a small table, for what `auto` misses. Pure."""

from dataclasses import dataclass
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host.types import Gpu
from nvfp4_serve.plan.flags import Choice, Spellings, flag_values
from nvfp4_serve.plan.nested import nested_text

_FLAG: Final = "--moe-backend"
_NVFP4: Final = frozenset({"NVFP4", "W4A16_NVFP4"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A backend that is right for a layout on GPUs of one kind.

    Attributes:
        layout: The layout's id.
        scheme: What the routed experts are; no other NVFP4 among them.
        major: The first number of the compute capability.
    """

    layout: str
    scheme: str
    major: int
    backend: str
    why: str
    source: str


_RULES: Final = (
    Rule(
        "deepseek-v4",
        "NVFP4",
        10,
        "flashinfer_trtllm",
        "It runs NVFP4 experts, and the MXFP4 experts of a multi-token-prediction "
        "layer as well; one backend must do for both.",
        "vLLM 0.32.0, fused_moe/oracle/nvfp4.py and mxfp4.py, map_nvfp4_backend and "
        "map_mxfp4_backend; read, not run",
    ),
)
_END: Final = (
    "vLLM 0.32.0, models/deepseek_v4/nvidia/model.py, load_weights, would end with "
    "`KeyError: ...experts.w13_input_scale`"
)
#: With these the choice of kernels hangs on more than the layout.
_OWN_WAY: Final = frozenset({"--all2all-backend", "--kernel-config"})


def expert_choices(
    layout: Layout, gpus: tuple[Gpu, ...], asked: frozenset[str]
) -> tuple[Choice, ...]:
    """Return the backend for the routed experts; none where `auto` is right.

    Args:
        layout: The checkpoint.
        gpus: Those of the plan; all of one kind.
        asked: The flags that the user gave.
    """
    if asked & _OWN_WAY:
        return ()
    majors = {gpu.compute_capability[0] for gpu in gpus}
    return tuple(
        Choice(_FLAG, rule.backend, rule.why, rule.source)
        for rule in _RULES
        if rule.layout == layout.layout
        and _experts(layout) & _NVFP4 == {rule.scheme}
        and majors == {rule.major}
    )


def check_experts(layout: Layout, words: tuple[str, ...], spellings: Spellings) -> None:
    """Refuse a backend of the user's that cannot run the routed experts.

    Raises:
        UsageError: It reads NVFP4 experts as MXFP4.
    """
    asked = nested_text(words, "--kernel-config", "moe_backend")
    asked = flag_values(words, spellings).get(_FLAG, asked) or "auto"
    asked = asked.lower().replace("-", "_")
    if asked != "deep_gemm_mega_moe" or not _experts(layout) & _NVFP4:
        return
    raise UsageError(
        f"`{_FLAG} {asked}` cannot run NVFP4 experts; it takes them for MXFP4 "
        "(vllm#43454).",
        evidence=(f"the routed experts are {layout.schemes['routed_experts']}", _END),
        fix=f"Use `{_FLAG} flashinfer_trtllm` on compute capability 10.x; elsewhere "
        f"leave `{_FLAG}` out, and vLLM chooses.",
    )


def _experts(layout: Layout) -> frozenset[str]:
    return frozenset(layout.schemes.get("routed_experts", "").split("+"))
