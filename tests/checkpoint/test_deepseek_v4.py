"""DeepSeek-V4 with NVFP4 experts and a draft layer in the native formats.

The header is a constructed one (``tests/data/headers/README.md``).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpoint.test_real_exports import restored
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout

NAME = "constructed-deepseek-v4-nvfp4-mxfp4-mtp"


def layout_of(folder: Path, change: Callable[[Any], object] | None = None) -> Layout:
    """Return the layout, with a change of the quantization config."""
    restored(NAME, folder)
    if change is not None:
        config = json.loads((folder / "config.json").read_bytes())
        change(config["quantization_config"])
        (folder / "config.json").write_text(json.dumps(config))
    return read_layout(read_checkpoint(str(folder)))


def found(layout: Layout) -> list[tuple[str, str]]:
    return [(finding.id, finding.severity.value) for finding in layout.findings]


def test_knows_the_native_names_and_every_format(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)

    assert layout.layout == "deepseek-v4"
    assert layout.rewrites == ()
    assert layout.schemes == {
        "attention": "FP8_BLOCK",
        "routed_experts": "NVFP4",
        "shared_experts": "FP8_BLOCK",
        "router": "BF16",
        "mtp": "BF16+FP8_BLOCK+MXFP4",
        "lm_head": "BF16",
        "embeddings": "BF16",
    }


def test_tells_the_engine_that_the_draft_layer_is_another_format(
    tmp_path: Path,
) -> None:
    layout = layout_of(tmp_path)

    own = json.loads((tmp_path / "config.json").read_bytes())["quantization_config"]
    assert layout.servable
    assert found(layout) == [("undeclared-draft", "info")]
    assert layout.overlay is not None
    assert layout.overlay.quantization_config == {**own, "ignore": ["mtp.*"]}


def test_takes_what_nvidia_writes_as_it_is(tmp_path: Path) -> None:
    def as_nvidia_writes(config: Any) -> None:
        config["quant_algo"] = "MIXED_PRECISION"
        config["ignore"] = ["*.attn.*", "*.ffn.shared_experts.*", "head", "mtp.*"]

    layout = layout_of(tmp_path, as_nvidia_writes)

    assert layout.layout == "deepseek-v4"
    assert found(layout) == []
    assert layout.overlay is None


def test_refuses_nvfp4_experts_that_the_config_does_not_name(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, lambda config: config.pop("moe_quant_algo"))

    assert ("stored-otherwise", "error") in found(layout)
    assert layout.overlay is None


@pytest.mark.parametrize("pattern", ["mtp*", "mtp.0.*", "mtp.[0-9].*"])
def test_knows_every_pattern_that_vllm_matches(tmp_path: Path, pattern: str) -> None:
    layout = layout_of(tmp_path, lambda config: config.update(ignore=[pattern]))

    assert "undeclared-draft" not in [f.id for f in layout.findings]
