"""vllm#43455: which format the MTP layer of a DeepSeek-V4 with NVFP4 experts gets.

vLLM 0.32.0 decides by ``quantization_config.ignore``; its own predicate is asked. A
checkpoint that says nothing there gets NVFP4 for an MTP layer that is MXFP4.
"""

from __future__ import annotations

import pytest

from patches.probing import Probes

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("engine", ["pristine", "patched"])
def test_the_mtp_layer_is_mxfp4_only_where_ignore_names_it(
    probes: Probes, engine: str
) -> None:
    probes.require_right(engine, "deepseek_v4_mtp_formats")
