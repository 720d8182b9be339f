"""What is said of a checkpoint that a test describes."""

from collections.abc import Mapping
from pathlib import Path

from checkpoint.builders import NVFP4_CONFIG, Tensors, write_checkpoint
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.finding import Severity


def layout_of(
    folder: Path,
    tensors: Tensors,
    quantization: Mapping[str, object] | None = NVFP4_CONFIG,
    config: Mapping[str, object] | None = None,
) -> Layout:
    write_checkpoint(folder, tensors, quantization=quantization, config=config)
    return read_layout(read_checkpoint(str(folder)))


def found(layout: Layout) -> list[tuple[str, Severity]]:
    return [(finding.id, finding.severity) for finding in layout.findings]
