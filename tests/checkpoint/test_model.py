"""What config.json says of the model itself."""

from pathlib import Path

import pytest

from checkpoint.builders import (
    modelopt_moe,
)
from checkpoint.judged import found, layout_of
from nvfp4_serve.checkpoint.types import Attention
from nvfp4_serve.finding import Severity


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, Attention(1, 2, 32), id="grouped"),
        pytest.param(
            {"num_key_value_heads": None}, Attention(1, 4, 32), id="multi-head"
        ),
        pytest.param({"head_dim": None}, Attention(1, 2, 24), id="head-from-hidden"),
        pytest.param({"kv_lora_rank": 512}, None, id="latent"),
        pytest.param({"num_hidden_layers": None}, None, id="no-layers"),
        pytest.param(
            {"layer_types": ["linear_attention", "full_attention"]},
            Attention(1, 2, 32),
            id="hybrid",
        ),
        pytest.param({"layer_types": ["never_seen"]}, None, id="unknown-kind"),
        pytest.param(
            {"layer_types": ["sliding_attention", "full_attention"]}, None, id="slides"
        ),
        pytest.param({"sliding_window": 128}, None, id="all-slide"),
        pytest.param(
            {"sliding_window": 128, "use_sliding_window": False},
            Attention(1, 2, 32),
            id="no-one-slides",
        ),
        pytest.param(
            {"num_hidden_layers": 5, "hybrid_override_pattern": "M*E-*"},
            Attention(2, 2, 32),
            id="nemotron-h",
        ),
        pytest.param(
            {"layers_block_type": ["mamba", "attention", "moe"]},
            Attention(1, 2, 32),
            id="nemotron-h-by-names",
        ),
        pytest.param(
            {"num_hidden_layers": 48, "full_attention_interval": 4},
            Attention(12, 2, 32),
            id="qwen3-next",
        ),
        pytest.param({"linear_num_key_heads": 16}, None, id="linear-not-counted"),
        pytest.param(
            {"num_hidden_layers": 32, "attn_layer_period": 8, "attn_layer_offset": 4},
            Attention(4, 2, 32),
            id="jamba",
        ),
        pytest.param({"attn_layer_period": 8}, None, id="jamba-without-offset"),
        pytest.param({"mamba_d_state": 64}, None, id="mamba"),
        pytest.param(
            {
                "text_config": {
                    "num_hidden_layers": 3,
                    "num_attention_heads": 8,
                    "head_dim": 16,
                }
            },
            Attention(3, 8, 16),
            id="nested",
        ),
    ],
)
def test_knows_what_the_kv_cache_depends_on(
    tmp_path: Path, config: dict[str, object], expected: Attention | None
) -> None:
    assert layout_of(tmp_path, modelopt_moe(), config=config).attention == expected


def test_knows_the_heads_of_latent_attention_too(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, modelopt_moe(), config={"kv_lora_rank": 512})

    assert layout.attention_heads == 4


def test_says_that_a_model_brings_its_own_code(tmp_path: Path) -> None:
    layout = layout_of(
        tmp_path, modelopt_moe(), config={"auto_map": {"AutoModel": "x.Y"}}
    )

    assert layout.needs_remote_code
    assert found(layout) == [("remote-code", Severity.WARNING)]
    assert "--trust-remote-code" in layout.findings[0].fix
    assert layout.max_position_embeddings == 512
