"""What the config says of each module: its algorithm, or that it is excluded. Pure.

Each part of vLLM that reads a quantization config has its own way to look a module up;
each has its own rule here. Source: vLLM 0.32.0, ``quantization/modelopt.py``,
``quantization/fp8.py``, ``quantization/compressed_tensors``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from nvfp4_serve.checkpoint.config import Claim
from nvfp4_serve.checkpoint.encodings import Encoding
from nvfp4_serve.checkpoint.patterns import matcher

_EXPERTS: Final = ".experts"
_LINEAR: Final = frozenset({"Linear"})
_BLOCKS: Final = frozenset({Encoding.FP8_BLOCK})
_MODELOPT: Final = frozenset({Encoding.MODELOPT_NVFP4})
_COMPRESSED: Final = frozenset({Encoding.COMPRESSED_NVFP4})
_ANY_FP8: Final = frozenset({Encoding.FP8, Encoding.FP8_BLOCK})

#: Who reads the config, and the algorithm that it names, to how the weight is stored
#: then. Everything else contradicts the config.
STORED_AS: Final[Mapping[tuple[str, str], frozenset[Encoding]]] = {
    ("modelopt", "NVFP4"): _MODELOPT,
    ("modelopt", "W4A16_NVFP4"): _MODELOPT,
    ("modelopt", "FP8"): frozenset({Encoding.FP8}),
    ("modelopt", "FP8_PER_CHANNEL_PER_TOKEN"): frozenset({Encoding.FP8}),
    # A matrix of one block looks like one with a scale for its rows.
    ("modelopt", "FP8_PB_WO"): _ANY_FP8,
    ("modelopt", "FP8_BLOCK_SCALES"): _ANY_FP8,
    ("modelopt", "MXFP8"): _BLOCKS,
    ("compressed-tensors", "NVFP4"): _COMPRESSED,
    ("compressed-tensors", "W4A16_NVFP4"): _COMPRESSED,
    ("compressed-tensors", "FP8"): _ANY_FP8,
    ("compressed-tensors", "MXFP4"): frozenset({Encoding.MXFP4}),
    # DeepSeek-V4 says fp8, and its experts are MXFP4.
    ("fp8", "FP8"): _ANY_FP8 | {Encoding.MXFP4},
    ("fp8", "NVFP4"): _MODELOPT,
    ("mxfp4", "MXFP4"): frozenset({Encoding.MXFP4}),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the config says of one module.

    Attributes:
        algorithm: None: it is not quantized.
        stored_as: The encodings that the algorithm has.
        quantizes_inputs: Whether its activations are quantized too; None: not said.
        by_name: Whether the config names the module, and not all of a kind.
    """

    algorithm: str | None
    stored_as: frozenset[Encoding] = frozenset({Encoding.PLAIN})
    quantizes_inputs: bool | None = None
    by_name: bool = False


#: Module and its class, to what is said of it; None: it is not known.
Rule: TypeAlias = Callable[[str, str], Expected | None]

_PLAIN: Final = Expected(None)


def rule_of(claim: Claim) -> Rule | None:
    """Return what ``claim`` says of any module; None: it is not known.

    Raises:
        CheckpointError: A pattern is not a regular expression.
    """
    rule = _family_rule(claim)
    if rule is None:
        return None
    is_ignored = matcher(claim.ignore)
    # A native format may stay quantized where it is excluded from ModelOpt's:
    # DeepSeek-V4 excludes its FP8 attention and its MXFP4 prediction layers.
    ignored = Expected(None, _PLAIN.stored_as | _ANY_FP8 | {Encoding.MXFP4})
    excluded = ignored if claim.family in ("fp8", "mxfp4") else _PLAIN

    def expected(module: str, label: str) -> Expected | None:
        return excluded if is_ignored(module) else rule(module, label)

    return expected


def _family_rule(claim: Claim) -> Rule | None:
    if claim.family == "compressed-tensors":
        return _by_group(claim)
    if claim.family == "modelopt" and claim.algorithm == "MIXED_PRECISION":
        return _by_layer(claim)
    if claim.family == "fp8" and claim.experts is not None:
        # DeepSeek-V4 knows NVFP4 experts with quantized activations only.
        quantizes = claim.experts == "NVFP4" or claim.quantizes_inputs
        experts = _of(claim, claim.experts, quantizes_inputs=quantizes)
        return lambda _, label: experts if label == "routed_experts" else None
    everything = _of(claim, claim.algorithm, quantizes_inputs=claim.quantizes_inputs)
    if everything is None:
        return None
    if claim.family == "mxfp4":
        return lambda _, label: everything if label == "routed_experts" else _PLAIN
    return lambda _module, _label: everything


def _of(
    claim: Claim,
    algorithm: str | None,
    *,
    quantizes_inputs: bool | None,
    by_name: bool = False,
) -> Expected | None:
    stored = STORED_AS.get((claim.family or "", algorithm or ""))
    if stored is None:
        return None
    return Expected(algorithm, stored, quantizes_inputs, by_name)


def _by_layer(claim: Claim) -> Rule | None:
    """Look the module up among the layers that ModelOpt's config names.

    Experts are one layer of vLLM's: they have the algorithm of their own entry, or of
    the first entry below it, or of the first beside it. A layer that is not named is
    not quantized.
    """
    layers = {_bare(name): algorithm for name, algorithm in claim.layers.items()}
    # A module of another root may be named otherwise by vLLM.
    roots = {name.partition(".")[0] for name in layers}
    first: dict[str, str] = {}
    for name, algorithm in layers.items():
        first.setdefault(_expert_layer(name), algorithm)
        first.setdefault(name.rpartition(".")[0], algorithm)

    def expected(module: str, label: str) -> Expected | None:
        name = _bare(module)
        found = layers.get(name)
        if label == "routed_experts":
            layer = _expert_layer(name)
            beside = first.get(layer.removesuffix(_EXPERTS))
            found = layers.get(layer) or first.get(layer) or beside
        if found is None:
            return _PLAIN if name.partition(".")[0] in roots else None
        quantizes = {"NVFP4": True, "W4A16_NVFP4": False}.get(found)
        return _of(claim, found, quantizes_inputs=quantizes, by_name=True)

    return expected if layers else None


def _bare(name: str) -> str:
    """Return ``name`` without the prefixes that vLLM takes for each other."""
    for prefix in ("model.language_model.", "language_model.model."):
        if name.startswith(prefix):
            return "model." + name.removeprefix(prefix)
    return name


def _expert_layer(name: str) -> str:
    """Return ``a.experts`` for ``a.experts.0.b``; any other name as it is."""
    head, found, _ = f"{name}.".partition(f"{_EXPERTS}.")
    return head + _EXPERTS if found else name


def _by_group(claim: Claim) -> Rule | None:
    """Look the module up among the groups of compressed-tensors: by name, by class."""
    said = [
        _of(claim, group.algorithm, quantizes_inputs=group.quantizes_inputs)
        for group in claim.groups
    ]
    is_named = [matcher(t for t in g.targets if t != "Linear") for g in claim.groups]
    of_linear = [
        s for s, g in zip(said, claim.groups, strict=True) if _LINEAR & {*g.targets}
    ]
    classes = {t for g in claim.groups for t in g.targets if t.isidentifier()}

    def expected(module: str, _label: str) -> Expected | None:
        for says, names in zip(said, is_named, strict=True):
            if names(module):
                return says
        if of_linear:
            return of_linear[0]
        # Another class than Linear: which modules are of it is not known here.
        return None if classes else _PLAIN

    return expected if claim.groups else None
