"""The tensors and the claim side by side: what every check of ``findings`` reads."""

from collections.abc import Iterator
from dataclasses import dataclass

from nvfp4_serve.checkpoint.config import Claim, Model, read_claim, read_model
from nvfp4_serve.checkpoint.encodings import NVFP4, Encoding, encoding_of
from nvfp4_serve.checkpoint.modules import module_class
from nvfp4_serve.checkpoint.types import Checkpoint, ModuleGroup

#: Suffixes of the activation scale, as ModelOpt and compressed-tensors name it.
INPUT_SCALES = ("input_scale", "input_global_scale")


@dataclass(frozen=True, slots=True)
class Seen:
    """One group of modules, recognised."""

    group: ModuleGroup
    label: str
    encoding: Encoding

    @property
    def has_input_scale(self) -> bool:
        """Whether the modules store a scale for their activations."""
        return any(self.group.tensor(suffix) for suffix in INPUT_SCALES)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known, before it is judged."""

    checkpoint: Checkpoint
    model: Model
    claim: Claim | None
    seen: tuple[Seen, ...]

    @property
    def encodings(self) -> frozenset[Encoding]:
        """Every encoding that some module has."""
        return frozenset(seen.encoding for seen in self.seen)

    def stored_as(self, *encodings: Encoding) -> Iterator[Seen]:
        """Yield the groups of one of ``encodings``."""
        return (seen for seen in self.seen if seen.encoding in encodings)

    @property
    def has_nvfp4(self) -> bool:
        """Whether any module is packed NVFP4 that can be read."""
        return bool(self.encodings & NVFP4)


def gather(checkpoint: Checkpoint) -> Evidence:
    """Return the evidence of ``checkpoint``.

    Raises:
        CheckpointError: A config has a value of the wrong kind.
    """
    model = read_model(checkpoint.config)
    return Evidence(
        checkpoint=checkpoint,
        model=model,
        claim=read_claim(checkpoint),
        seen=tuple(
            Seen(
                group, module_class(group.name, layers=model.layers), encoding_of(group)
            )
            for group in checkpoint.groups
        ),
    )
