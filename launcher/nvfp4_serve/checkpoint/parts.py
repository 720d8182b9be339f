"""Parts of a model that cannot be as they are stored, whatever the config says. Pure.

Part of ``findings``.
"""

from collections.abc import Callable, Iterator
from typing import Final

from nvfp4_serve.checkpoint.encodings import QUANTIZED, Encoding, is_linear
from nvfp4_serve.checkpoint.evidence import Evidence
from nvfp4_serve.checkpoint.layers import layer_of
from nvfp4_serve.checkpoint.lists import named
from nvfp4_serve.finding import Finding, Severity

#: Models of vLLM 0.32.0 that give their router the quantization config
#: (``GateLinear(..., quant_config=quant_config)``); others build it plain.
QUANTIZED_ROUTERS: Final = frozenset(
    {
        "Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration",
        "Qwen3OmniMoeForConditionalGeneration", "Lfm2MoeForCausalLM",
        "K2HorizonForCausalLM",
    }
)  # fmt: skip
#: Layers with a name like a router's, and models that do quantize them, are many: only
#: of these it is known that they do not.
_PLAIN_ROUTERS: Final = (
    "Deepseek", "Glm4Moe", "GlmMoe", "MiniMax", "NemotronH", "Mixtral", "Qwen2Moe",
    "Qwen3Next", "Qwen3_5Moe", "KimiK", "BailingMoe", "Ernie4", "Olmoe", "PhiMoE",
)  # fmt: skip


def _quantized_router(evidence: Evidence) -> Iterator[Finding]:
    seen = [s for s in evidence.stored_as(*QUANTIZED) if s.label == "router"]
    architecture = evidence.model.architecture or ""
    if not seen or architecture in QUANTIZED_ROUTERS:
        return
    is_known = architecture.startswith(_PLAIN_ROUTERS)
    yield Finding(
        "quantized-router",
        Severity.ERROR if is_known else Severity.WARNING,
        f"{named(seen)} choose the experts and are quantized ({seen[0].encoding}); "
        f"vLLM builds the router of {architecture or 'most models'} plain, and has no "
        "place for its scales.",
        "Leave the router out of the quantization (`*mlp.gate*`), and export again.",
    )


def _quantized_embeddings(evidence: Evidence) -> Iterator[Finding]:
    """The head may be NVFP4 (since vLLM 0.23.0); the table of the tokens may not."""
    seen = [s for s in evidence.stored_as(*QUANTIZED) if s.label == "embeddings"]
    if seen:
        yield Finding(
            "quantized-embeddings",
            Severity.ERROR,
            f"{named(seen)} is quantized ({seen[0].encoding}), and vLLM looks tokens "
            "up in plain tables only.",
            "Leave the embeddings out of the quantization, and export again.",
        )


def _split_layers(evidence: Evidence) -> Iterator[Finding]:
    """Check layers of which a part is packed and another is not.

    vLLM 0.32.0, ``quant_utils.py``, ``is_layer_skipped``: "Detected some but not all
    shards of ... are quantized".
    """
    packed = {layer_of(seen): seen for seen in evidence.stored_as(*QUANTIZED)}
    for seen in evidence.stored_as(Encoding.PLAIN):
        other = packed.get(layer_of(seen))
        if other is None or not is_linear(seen.group):
            continue
        yield Finding(
            "split-layer",
            Severity.ERROR,
            f"{named([other])} and {named([seen])} are one layer in vLLM; the first "
            f"are {other.encoding}, the second plain.",
            "Quantize all projections of a layer or none, and export again.",
        )
        return


def _leftover_experts(evidence: Evidence) -> Iterator[Finding]:
    """Check plain fused experts beside packed ones of the same layer.

    vLLM 0.32.0 loads ``experts.gate_up_proj`` into the parameter of the packed ones
    (``routed_experts.py``).
    """
    packed = {
        seen.group.name.partition(".*")[0]
        for seen in evidence.stored_as(*QUANTIZED)
        if ".experts.*" in seen.group.name
    }
    seen = [
        s
        for s in evidence.stored_as(Encoding.PLAIN)
        if s.group.name in packed and any(len(t.shape) == 3 for t in s.group.tensors)
    ]
    if seen:
        names = ", ".join(tensor.suffix for tensor in seen[0].group.tensors)
        yield Finding(
            "leftover-experts",
            Severity.ERROR,
            f"{named(seen)} hold plain experts in one tensor ({names}) beside "
            "quantized ones of the same layer; which are meant nobody can tell.",
            "Export the checkpoint again, into an empty folder.",
        )


PARTS: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    _quantized_router,
    _quantized_embeddings,
    _split_layers,
    _leftover_experts,
)
