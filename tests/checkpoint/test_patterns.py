"""Patterns of the quantization config: what they name, and that none takes forever."""

from pathlib import Path

import pytest

from checkpoint.builders import NVFP4_CONFIG, modelopt_moe, write_checkpoint
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.finding import Finding


def findings(folder: Path, ignore: list[str]) -> dict[str, Finding]:
    quantization = {**NVFP4_CONFIG, "ignore": ignore}
    write_checkpoint(folder, modelopt_moe(), quantization=quantization)
    layout = read_layout(read_checkpoint(str(folder)))
    return {finding.id: finding for finding in layout.findings}


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"re:model\.(\w+\.?)+$x", id="repeated-group"),
        pytest.param(r"re:((\w|\.)+)+$x", id="nested-groups"),
        pytest.param(r"re:(.*)\1\1\1x", id="reference"),
        pytest.param("re:" + r"(\w|[a-z])" * 60 + "$x", id="alternatives"),
        pytest.param("re:" + r".?" * 50 + "." * 50, id="optional"),
        pytest.param("re:" + ".*" * 12 + "X", id="many-repeats"),
        pytest.param(r"re:(?x)( \w+ ) +$x", id="blanks"),
    ],
)
def test_does_not_match_what_may_take_forever(tmp_path: Path, pattern: str) -> None:
    found = findings(tmp_path, ["lm_head", pattern])

    assert pattern[:80] in found["slow-pattern"].message
    assert "excluded-but-quantized" not in found


@pytest.mark.parametrize(
    ("pattern", "excludes"),
    [
        ("re:.*self_attn.*", True),
        (r"re:model\.layers\.\d+\.mlp\.experts\.\d+\..*", True),
        (r"re:.*\.(q|k|v|o|gate|up|down)_proj$", True),
        (r"re:(.*\.)?lm_head", False),
        (r"re:^(?!.*(experts|self_attn)).*$", False),
        ("model.layers.*.self_attn*", True),
        ("model.layers.0.self_attn", True),
        ("*" * 200 + "x", False),
    ],
)
def test_matches_what_exporters_write(
    tmp_path: Path, pattern: str, *, excludes: bool
) -> None:
    found = findings(tmp_path, ["lm_head", "model.layers.0.mlp.gate", pattern])

    assert "slow-pattern" not in found
    assert ("excluded-but-quantized" in found) is excludes
