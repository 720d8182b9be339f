"""The experts, the draft and the kind of attention, as backends ask for them. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from nvfp4_serve.checkpoint.encodings import weight_of
from nvfp4_serve.checkpoint.evidence import Evidence, Seen
from nvfp4_serve.checkpoint.model import text_config
from nvfp4_serve.checkpoint.schema import typed
from nvfp4_serve.checkpoint.types import Draft, Experts

#: The keys of config.json, as the models' own code in vLLM 0.32.0 reads them; the
#: first that a config has counts.
_COUNT: Final = (
    "n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts",
)  # fmt: skip
_PER_TOKEN: Final = (
    "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk",
    "moe_top_k", "moe_k",
)  # fmt: skip
_INTERMEDIATE: Final = ("moe_intermediate_size", "intermediate_size")
_ACTIVATION: Final = ("mlp_hidden_act", "hidden_act", "hidden_activation")
_DRAFT_LAYERS: Final = (
    "num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers",
    "num_mtp_modules",
)  # fmt: skip
#: vLLM's word for an activation, where its model gives one, whatever config.json says:
#: ``models/gpt_oss.py``, ``gemma4.py``, ``minimax_m3/nvidia/model.py``, vLLM 0.32.0.
_BY_ARCHITECTURE: Final = {
    "GptOssForCausalLM": "swigluoai",
    "MiniMaxM3ForCausalLM": "swigluoai_uninterleave",
    "MiniMaxM3SparseForConditionalGeneration": "swigluoai_uninterleave",
    "Gemma4ForCausalLM": "gelu_tanh",
    "Gemma4ForConditionalGeneration": "gelu_tanh",
}
_WORDS: Final = {"swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
#: Architectures whose experts have no gate; vLLM 0.32.0, ``models/nemotron_h.py``,
#: ``activation_without_mul``.
_NOT_GATED: Final = "NemotronH"
#: Models whose vLLM code hands the clamp to the experts' kernel as a setting of its
#: own; gpt-oss has it within its activation. vLLM 0.32.0, ``swiglu_limit=``.
_CLAMP_IS_ACTIVATION: Final = frozenset({"GptOssForCausalLM"})


#: What the config class of transformers 5.19 has where config.json says nothing.
_DEFAULT_CLAMP: Final = {
    "DeepseekV4ForCausalLM": 10.0,
    "DeepseekV41ForCausalLM": 10.0,
    "Glm5NextForCausalLM": 10.0,
    "HYV4ForCausalLM": 10.0,
    "MiniMaxM3ForCausalLM": 7.0,
    "MiniMaxM3SparseForConditionalGeneration": 7.0,
}


class _Clamp(msgspec.Struct, frozen=True):
    swiglu_limit: float | None = None
    expert_swiglu_limit: float | None = None
    swiglu_limits: tuple[float | None, ...] | None = None


def read_experts(evidence: Evidence) -> Experts | None:
    """Return what a kernel must know of the routed experts; None where there are none.

    Their number is that of the modules where config.json does not say it.
    """
    groups = [seen.group for seen in evidence.seen if seen.label == "routed_experts"]
    if not groups:
        return None
    said = text_config(evidence.checkpoint.config)
    architecture = evidence.model.architecture or ""
    gated = not architecture.startswith(_NOT_GATED)
    activation = _activation(said, architecture)
    if activation is None:
        # The default of the config classes of transformers 5.19 for such models.
        activation = "silu" if gated else "relu2"
    return Experts(
        count=_number(said, _COUNT) or max(group.count for group in groups),
        per_token=_number(said, _PER_TOKEN),
        intermediate=_number(said, _INTERMEDIATE),
        activation=activation if gated else f"{activation}_no_mul",
        gated=gated,
        swiglu_limit=_clamp(said, architecture),
    )


def read_draft(
    evidence: Evidence, scheme_of: Callable[[Seen], str | None]
) -> Draft | None:
    """Return the prediction layers that the tensors hold; None where they hold none.

    A config often counts prediction layers that an export has left out.

    Args:
        evidence: Of the checkpoint.
        scheme_of: Gives the scheme of one group of modules.
    """
    seen = [one for one in evidence.seen if one.label == "mtp"]
    if not seen:
        return None
    said = text_config(evidence.checkpoint.config)
    experts = {
        scheme
        for one in seen
        if ".experts." in one.group.name and weight_of(one.group) is not None
        if (scheme := scheme_of(one)) is not None
    }
    return Draft(
        layers=_number(said, _DRAFT_LAYERS),
        scheme="+".join(sorted(experts)) or None,
        method="mtp",
    )


def attention_kind(config: Mapping[str, object]) -> str:
    """Return how the model attends: ``plain``, ``latent``, ...

    ``latent-sparse`` is latent attention with an indexer (DeepSeek-V3.2, GLM-5);
    ``deepseek-v4`` has backends of its own.
    """
    said = text_config(config)
    if said.get("compress_ratios"):
        return "deepseek-v4"
    if said.get("kv_lora_rank"):
        return "latent-sparse" if said.get("index_topk") else "latent"
    return "plain"


def _number(said: Mapping[str, object], keys: tuple[str, ...]) -> int | None:
    """Return the first of ``keys`` that is a count; some models give lists."""
    for key in keys:
        value = said.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _activation(said: Mapping[str, object], architecture: str) -> str | None:
    if architecture in _BY_ARCHITECTURE:
        return _BY_ARCHITECTURE[architecture]
    for key in _ACTIVATION:
        word = said.get(key)
        if isinstance(word, str):
            return _WORDS.get(word, word)
    return None


def _clamp(said: Mapping[str, object], architecture: str) -> float | None:
    """Return the clamp of the gate; of several, the tightest; 0 is none."""
    if architecture in _CLAMP_IS_ACTIVATION:
        return None
    clamp = typed(said, _Clamp, "config.json")
    if "swiglu_limit" not in said:
        clamp = msgspec.structs.replace(
            clamp, swiglu_limit=_DEFAULT_CLAMP.get(architecture)
        )
    one = (clamp.swiglu_limit, clamp.expert_swiglu_limit)
    limits = (*one, *(clamp.swiglu_limits or ()))
    return min((limit for limit in limits if limit), default=None)
