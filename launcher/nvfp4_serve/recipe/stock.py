"""What stock vLLM would choose and allow: ``recipes/auto/``, its own code's words."""

from collections.abc import Mapping

import msgspec

from nvfp4_serve.resources import VLLM_VERSION, data_folder


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What vLLM answers to one question.

    Attributes:
        auto: What it takes by itself; None: it has nothing.
        offers: What may be asked for, and what that is called in the log.
        refuses: What may not be asked for, and why.
    """

    capabilities: tuple[int, ...]
    auto: str | None
    offers: Mapping[str, str]
    refuses: Mapping[str, str]


class MoeCell(Cell, frozen=True, kw_only=True):
    """The answer for routed experts."""

    scheme: str
    expert_parallel: bool
    activation: str
    swiglu_limit: bool


class LinearCell(Cell, frozen=True, kw_only=True):
    """The answer for layers that are no experts."""

    scheme: str


class AttentionCell(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for attention; what it offers goes by the same name in the log."""

    capabilities: tuple[int, ...]
    kind: str
    kv_cache_dtype: str
    auto: str | None
    offers: tuple[str, ...]
    refuses: Mapping[str, str]


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """The table; ``tests/selection`` makes it.

    Attributes:
        vllm: The version that was asked.
        moe: For NVFP4 experts.
        mxfp4_moe: For the MXFP4 experts of a DeepSeek-V4's draft.
        plain_moe: For experts that are not quantized.
    """

    vllm: str
    moe: tuple[MoeCell, ...] = ()
    mxfp4_moe: tuple[MoeCell, ...] = ()
    plain_moe: tuple[MoeCell, ...] = ()
    linear: tuple[LinearCell, ...] = ()
    attention: tuple[AttentionCell, ...] = ()


def read_stock(version: str = VLLM_VERSION) -> Stock:
    """Return what vLLM's selection code answers.

    Raises:
        FileNotFoundError: Nobody asked that version.
    """
    path = data_folder("recipes") / "auto" / f"vllm-{version}.json"
    return msgspec.json.decode(path.read_bytes(), type=Stock)
