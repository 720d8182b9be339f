"""The rows of ``plan/rules.yaml``: which kernels for which situation, and why."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from nvfp4_serve.recipe.yaml_files import read_yaml

_PATH: Final = Path(__file__).resolve().parents[1] / "plan" / "rules.yaml"

Words = str | tuple[str, ...] | None

#: What a row may choose and expect. ``env`` is merged, name by name.
FIELDS: Final = (
    "moe", "linear", "attention", "kv_cache_dtype", "block_size", "draft_moe",
    "autotune",
)  # fmt: skip


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must hold; all of it. Of several words, one must be the case.

    Attributes:
        capability: ``"12.1"``, or a family: ``"12.x"``.
        vllm: A range: ``">=0.32,<0.34"``.
        experts: The scheme of the routed experts.
        linear: The scheme of the NVFP4 layers that are no experts.
        draft: The scheme of the stored draft's experts.
        layout: The layout's id.
        activation: Of the experts, vLLM's word.
        attention: How the model attends: ``Layout.attention_kind``.
        kv_cache: What the checkpoint says of its KV cache.
        gated: The experts have a gate.
        swiglu_limit: The model clamps the gate.
        expert_parallel: Experts are spread, not cut.
        vision: The checkpoint has a vision or audio tower.
        unified: The GPU shares the machine's memory.
        uneven: Some layer's input features, on one GPU, are no multiple of 32.
        many: More than one GPU shares each layer.
    """

    capability: Words = None
    vllm: str | None = None
    experts: Words = None
    linear: Words = None
    draft: Words = None
    layout: Words = None
    activation: Words = None
    attention: Words = None
    kv_cache: Words = None
    gated: bool | None = None
    swiglu_limit: bool | None = None
    expert_parallel: bool | None = None
    vision: bool | None = None
    unified: bool | None = None
    uneven: bool | None = None
    many: bool | None = None

    @property
    def given(self) -> dict[str, object]:
        """The conditions that the row has, by name."""
        every = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in every.items() if value is not None}

    @property
    def rank(self) -> int:
        """How special the row is; of two rows that hold, the higher one wins.

        Two for each condition, but one for a family of capabilities.
        """
        family = any(word.endswith(".x") for word in words_of(self.capability))
        return 2 * len(self.given) - family


class Choose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to give vLLM; ``auto`` says that its own choice is right.

    Attributes:
        moe: ``--moe-backend``.
        linear: ``--linear-backend``.
        attention: ``--attention-backend``.
        kv_cache_dtype: ``--kv-cache-dtype``.
        block_size: ``--block-size``.
        draft_moe: ``moe_backend`` of ``--speculative-config``.
        autotune: False: ``--no-enable-flashinfer-autotune``.
        env: Environment variables.
    """

    moe: str | None = None
    linear: str | None = None
    attention: str | None = None
    kv_cache_dtype: str | None = None
    block_size: int | None = None
    draft_moe: str | None = None
    autotune: bool | None = None
    env: dict[str, str] = {}


class Kernels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What vLLM says it uses, in its own words.

    Attributes:
        moe: The name in ``Using '...' NvFp4 MoE backend``.
        linear: The class in ``Using ... for NVFP4 GEMM``.
        attention: The name in ``Using ... attention backend``.
        draft_moe: The name in the draft's own ``MoE backend`` line.
    """

    moe: str | None = None
    linear: str | None = None
    attention: str | None = None
    draft_moe: str | None = None


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule.

    Attributes:
        proof: ``run``: vLLM's own selection code gave it; ``read``: in its source;
            ``reported``: somebody measured or met it.
    """

    id: str
    when: When
    choose: Choose
    expect: Kernels = Kernels()
    why: str
    source: str
    proof: Literal["run", "read", "reported"]

    def says(self, field: str) -> object:
        """Return what the row chooses for ``field``; None where it says nothing."""
        return getattr(self.choose, field)


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A backend that must not run some experts, whatever vLLM says of it.

    Attributes:
        moe: The value of ``--moe-backend``.
        experts: The schemes that it must not run.
        instead: What to do, for the message.
    """

    moe: str
    experts: tuple[str, ...]
    why: str
    instead: str
    source: str


class Missing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A backend that needs a package which the managed engine does not have."""

    backend: str
    package: str
    source: str


class CacheRefusal(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """A type of KV cache that must not be used in a situation.

    Attributes:
        kv_cache_dtype: The beginnings of the values of ``--kv-cache-dtype``.
        unless: Flags with which it is no matter.
    """

    when: When
    kv_cache_dtype: tuple[str, ...]
    unless: tuple[str, ...] = ()
    why: str
    instead: str
    source: str


class BackendRules(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """All that ``rules.yaml`` says.

    Attributes:
        vllm: The version whose selection code the rows were held against.
    """

    vllm: str
    rows: tuple[Row, ...]
    refused: tuple[Refusal, ...] = ()
    missing: tuple[Missing, ...] = ()
    cache_refused: tuple[CacheRefusal, ...] = ()


def words_of(value: Words) -> tuple[str, ...]:
    """Return the words of a condition; one word may stand alone."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def read_rules() -> BackendRules:
    """Return the rules that this package carries.

    Raises:
        RecipeError: The file is damaged; the installation is broken.
    """
    return read_yaml(_PATH, BackendRules)
