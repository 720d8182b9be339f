"""What the user's words and variables say of kernels. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nvfp4_serve.plan.flags import Spellings, flag_values
from nvfp4_serve.plan.nested import nested_text, read_nested

MOE: Final = "--moe-backend"
LINEAR: Final = "--linear-backend"
ATTENTION: Final = "--attention-backend"
CACHE: Final = "--kv-cache-dtype"
SPECULATIVE: Final = "--speculative-config"
#: With these the choice of kernels hangs on more than what is looked up here.
_OWN_WAY: Final = frozenset(
    {"--all2all-backend", "--enable-eplb", "--enable-lora", "--enable-dbo"}
)
#: The same, for variables.
_OWN_WAY_ENV: Final = frozenset(
    {"VLLM_BATCH_INVARIANT", "VLLM_DISABLED_KERNELS", "VLLM_B12X_MOE_FP4_FORCE_A16"}
)


@dataclass(frozen=True, slots=True)
class AskedBackends:
    """What the user's words say of kernels; None: nothing.

    Attributes:
        moe: ``--moe-backend``, or within ``--kernel-config``.
        linear: ``--linear-backend``, or within ``--kernel-config``.
        attention: ``--attention-backend``.
        kv_cache_dtype: ``--kv-cache-dtype``.
        drafts: The checkpoint's own draft is loaded.
        draft_moe: ``moe_backend`` of ``--speculative-config``.
        flags: The names of all flags.
        is_simple: Nothing else of what was asked decides on kernels.
        by: Why a field has its value, and the source, where not the user gave it.
    """

    moe: str | None
    linear: str | None
    attention: str | None
    kv_cache_dtype: str | None
    drafts: bool
    draft_moe: str | None
    flags: frozenset[str]
    is_simple: bool
    by: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def touches(self) -> frozenset[str]:
        """The fields of `Backends` that the user decides."""
        mine = {"moe": self.moe, "linear": self.linear, "attention": self.attention}
        return frozenset(name for name, value in mine.items() if value is not None)


def read_asked_backends(
    words: tuple[str, ...],
    spellings: Spellings,
    environment: Mapping[str, str],
    flags: frozenset[str],
) -> AskedBackends:
    """Return what the user's words and variables say of kernels.

    Raises:
        UsageError: What follows a flag is no JSON object.
    """
    said = flag_values(words, spellings)
    kernels = {
        key: nested_text(words, "--kernel-config", key)
        for key in ("moe_backend", "linear_backend")
    }
    per_quant = nested_keys(words, "--kernel-config") - set(kernels)
    draft = draft_words(words)
    attention = said.get(ATTENTION)
    return AskedBackends(
        moe=_word(said.get(MOE, kernels["moe_backend"])),
        linear=_word(said.get(LINEAR, kernels["linear_backend"])),
        attention=attention.upper() if attention else None,
        kv_cache_dtype=said.get(CACHE),
        drafts=draft is not None and _is_own(draft),
        draft_moe=_word((draft or {}).get("moe_backend")),
        flags=flags,
        is_simple=not flags & _OWN_WAY
        and not per_quant
        and not _OWN_WAY_ENV & set(environment),
    )


def draft_words(words: tuple[str, ...]) -> dict[str, str] | None:
    """Return the first-level texts of ``--speculative-config``; None: not given."""
    given = read_nested(words, SPECULATIVE)
    if not given.words:
        return None
    whole = {k: v for k, v in (given.whole or {}).items() if isinstance(v, str)}
    return whole | {path[0]: text for path, text in given.keys if len(path) == 1}


def _is_own(draft: Mapping[str, str]) -> bool:
    """Return whether the draft is the prediction layers of the checkpoint itself.

    Source:
        vLLM 0.32.0, config/speculative.py, MTPModelTypes: their names end so; without
        a method and a model it is the checkpoint's own.
    """
    if "model" in draft:
        return False
    return draft.get("method", "mtp").endswith("mtp")


def nested_keys(words: tuple[str, ...], flag: str) -> set[str]:
    """Return the first-level keys that the user gave a flag of JSON."""
    given = read_nested(words, flag)
    return {*(given.whole or {}), *(path[0] for path, _ in given.keys)}


def _word(text: str | None) -> str | None:
    """Return a backend as vLLM reads it; config/kernel.py, _normalize_..._backend."""
    return None if text is None else text.lower().replace("-", "_")
