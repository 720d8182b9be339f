"""What the tests of `quantize` are given."""

from pathlib import Path

import pytest

from checkpoint.builders import NVFP4_CONFIG, modelopt_moe, write_checkpoint


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A checkpoint that is what the stand-in says it meant."""
    return write_checkpoint(
        tmp_path / "good", modelopt_moe(), quantization=NVFP4_CONFIG
    )
