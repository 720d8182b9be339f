"""The tensors and the claim side by side: what every check of ``findings`` reads."""

from collections.abc import Iterator
from dataclasses import dataclass

from nvfp4_serve.checkpoint.config import Claim, read_claim
from nvfp4_serve.checkpoint.encodings import Encoding, encoding_of, is_linear
from nvfp4_serve.checkpoint.expected import Expected, Rule, rule_of
from nvfp4_serve.checkpoint.model import Model, read_model
from nvfp4_serve.checkpoint.modules import module_class
from nvfp4_serve.checkpoint.patterns import too_slow
from nvfp4_serve.checkpoint.rewrites import AsLoaded, as_loaded
from nvfp4_serve.checkpoint.types import Checkpoint, ModuleGroup, Overlay

#: Suffixes of the activation scale, as ModelOpt and compressed-tensors name it.
INPUT_SCALES = ("input_scale", "input_global_scale")


@dataclass(frozen=True, slots=True)
class Seen:
    """One group of modules, recognised.

    Attributes:
        expected: What the config says of it; None: nothing, or it is not known.
    """

    group: ModuleGroup
    label: str
    encoding: Encoding
    expected: Expected | None

    @property
    def has_input_scale(self) -> bool:
        """Whether the modules store a scale for their activations."""
        return any(self.group.tensor(suffix) for suffix in INPUT_SCALES)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known, before it is judged.

    Attributes:
        loaded: The modules as a loader should see them; ``seen`` is about those.
        slow: Patterns of the config that were not matched, for the time it may take.
        overlay: What the engine is told instead of the claim, once it is made.
    """

    checkpoint: Checkpoint
    model: Model
    claim: Claim | None
    loaded: AsLoaded
    seen: tuple[Seen, ...]
    slow: tuple[str, ...]
    overlay: Overlay | None = None

    @property
    def encodings(self) -> frozenset[Encoding]:
        """Every encoding that some module has."""
        return frozenset(seen.encoding for seen in self.seen)

    def stored_as(self, *encodings: Encoding) -> Iterator[Seen]:
        """Yield the groups of one of ``encodings``."""
        return (seen for seen in self.seen if seen.encoding in encodings)


def gather(checkpoint: Checkpoint) -> Evidence:
    """Return the evidence of ``checkpoint``.

    Raises:
        CheckpointError: A config has a value of the wrong kind.
    """
    model = read_model(checkpoint.config)
    loaded = as_loaded(checkpoint.groups, model.architecture)
    claim = read_claim(checkpoint)
    patterns = claim.patterns if claim is not None else ()
    slow = too_slow(patterns, (group.example for group in loaded.groups))
    rule = rule_of(claim) if claim is not None and not slow else None
    return Evidence(
        checkpoint=checkpoint,
        model=model,
        claim=claim,
        loaded=loaded,
        seen=tuple(_seen(group, model, rule) for group in loaded.groups),
        slow=slow,
    )


def _seen(group: ModuleGroup, model: Model, rule: Rule | None) -> Seen:
    label = module_class(group.name, layers=model.layers)
    encoding = encoding_of(group)
    # Norms and biases are not looked up: nothing is expected of them.
    judged = encoding is not Encoding.PLAIN or is_linear(group)
    expected = rule(group.example, label) if rule is not None and judged else None
    return Seen(group, label, encoding, expected)
