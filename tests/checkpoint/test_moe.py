from pathlib import Path
from typing import Any

import pytest

from checkpoint.test_real_exports import restored
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.moe import attention_kind
from nvfp4_serve.checkpoint.types import Layout


def layout_of(name: str, folder: Path) -> Layout:
    restored(name, folder)
    return read_layout(read_checkpoint(str(folder)))


def test_reads_what_kernels_ask_of_a_deepseek_v4(tmp_path: Path) -> None:
    v4 = layout_of("constructed-deepseek-v4-nvfp4-mxfp4-mtp", tmp_path)

    assert v4.experts is not None
    assert (v4.experts.activation, v4.experts.gated) == ("silu", True)
    # Its config.json has no such key; transformers' own default is 10.
    assert v4.experts.swiglu_limit == 10.0
    assert v4.draft is not None
    assert (v4.draft.layers, v4.draft.scheme, v4.draft.method) == (1, "MXFP4", "mtp")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, "plain"),
        ({"kv_lora_rank": 512}, "latent"),
        ({"kv_lora_rank": 512, "index_topk": 2048}, "latent-sparse"),
        ({"text_config": {"kv_lora_rank": 512}}, "latent"),
        ({"kv_lora_rank": None}, "plain"),
        ({"compress_ratios": [4, 128], "kv_lora_rank": None}, "deepseek-v4"),
    ],
)
def test_tells_kinds_of_attention_apart(config: dict[str, Any], kind: str) -> None:
    assert attention_kind(config) == kind
