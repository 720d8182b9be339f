"""What config.json says of the KV cache."""

from pathlib import Path

import pytest

from checkpoint.builders import modelopt_moe
from checkpoint.judged import layout_of
from layouts import full_attention
from nvfp4_serve.checkpoint.shapes import KvKind, KvLayers, KvShape, KvState

FULL, SLIDING, STATE = KvKind.FULL, KvKind.SLIDING, KvKind.STATE
#: Of Qwen3-Next: 16 heads of keys, 32 of values, 128 wide.
DELTA_NET = {
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}
DELTA_STATE = KvState(3, 2 * 16 * 128 + 32 * 128, 0, 0, 32 * 128 * 128, 2)
MAMBA = {
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "n_groups": 2,
    "ssm_state_size": 16,
    "conv_kernel": 4,
}
MAMBA_STATE = KvState(3, 8 * 16, 2, 32, 8 * 16 * 16, 4, checkpoints=1)


def kept(kind: KvKind, *layers: int, **more: object) -> KvLayers:
    given: dict[str, object] = {"heads": 2, "width": 64} | more
    return KvLayers(kind, layers, **given)  # type: ignore[arg-type]


def state(value: KvState, *layers: int) -> KvLayers:
    return KvLayers(STATE, layers, state=value)


def latent(*layers: int, width: int = 576, value_bytes: int | None = None) -> KvLayers:
    return KvLayers(KvKind.LATENT, layers, width=width, value_bytes=value_bytes)


@pytest.mark.parametrize(
    ("config", "groups"),
    [
        pytest.param({}, (kept(FULL, 0),), id="grouped"),
        pytest.param(
            {"num_key_value_heads": None}, (kept(FULL, 0, heads=4),), id="multi-head"
        ),
        pytest.param(
            {"head_dim": None}, (kept(FULL, 0, width=48),), id="head-from-hidden"
        ),
        pytest.param(
            {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, (latent(0),), id="latent"
        ),
        pytest.param(
            {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "index_head_dim": 128},
            (latent(0), latent(0, width=132, value_bytes=1)),
            id="latent-with-an-indexer",
        ),
        pytest.param(
            {"sliding_window": 128, "use_sliding_window": False},
            (kept(FULL, 0),),
            id="no-one-slides",
        ),
        pytest.param(
            {
                "layer_types": ["sliding_attention", "full_attention"],
                "sliding_window": 64,
            },
            (kept(SLIDING, 0, window=64), kept(FULL, 1)),
            id="some-slide",
        ),
        pytest.param(
            {
                "layer_types": ["sliding_attention", "full_attention"] * 2,
                "sliding_window": 64,
                "global_head_dim": 48,
                "num_global_key_value_heads": 1,
                "num_kv_shared_layers": 2,
            },
            (kept(SLIDING, 0, window=64), kept(FULL, 1, heads=1, width=96)),
            id="gemma-4",
        ),
        pytest.param(
            {"layer_types": ["chunked_attention"] * 2, "attention_chunk_size": 8192},
            (kept(KvKind.CHUNKED, 0, 1, window=8192),),
            id="llama-4",
        ),
        pytest.param(
            {"num_hidden_layers": 5, "hybrid_override_pattern": "M*E-*", **MAMBA},
            (state(MAMBA_STATE, 0), kept(FULL, 1, 4)),
            id="nemotron-h",
        ),
        pytest.param(
            {"layers_block_type": ["mamba", "attention", "moe"], **MAMBA},
            (state(MAMBA_STATE, 0), kept(FULL, 1)),
            id="nemotron-h-by-names",
        ),
        pytest.param(
            {"num_hidden_layers": 4, "full_attention_interval": 4, **DELTA_NET},
            (state(DELTA_STATE, 0, 1, 2), kept(FULL, 3)),
            id="qwen3-next",
        ),
        pytest.param(
            {
                "text_config": {
                    "num_hidden_layers": 1,
                    "num_attention_heads": 8,
                    "head_dim": 16,
                }
            },
            (kept(FULL, 0, heads=8, width=32),),
            id="nested",
        ),
    ],
)
def test_knows_what_each_layer_keeps(
    tmp_path: Path, config: dict[str, object], groups: tuple[KvLayers, ...]
) -> None:
    found = layout_of(tmp_path, modelopt_moe(), config=config).kv

    assert found is not None
    assert set(found.groups) == set(groups)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"num_hidden_layers": None}, id="no-layers"),
        pytest.param({"layer_types": ["never_seen"]}, id="unknown-kind"),
        pytest.param({"sliding_window": 128}, id="all-slide-or-some"),
        pytest.param({"layer_types": ["sliding_attention"]}, id="no-window"),
        pytest.param({"linear_num_key_heads": 16}, id="linear-not-counted"),
        pytest.param({"layer_types": ["linear_attention"]}, id="no-state"),
        pytest.param({"attn_layer_period": 8}, id="jamba-without-offset"),
        pytest.param({"mamba_d_state": 64}, id="mamba"),
        pytest.param({"kv_lora_rank": 512}, id="latent-without-rope"),
        pytest.param({"compress_ratios": [4, 128]}, id="deepseek-v4"),
        pytest.param({"v_head_dim": 64}, id="values-of-another-width"),
    ],
)
def test_what_is_not_read_is_not_known(
    tmp_path: Path, config: dict[str, object]
) -> None:
    assert layout_of(tmp_path, modelopt_moe(), config=config).kv is None


def test_the_draft_keeps_what_a_full_layer_keeps(tmp_path: Path) -> None:
    config = {"num_nextn_predict_layers": 1}

    found = layout_of(tmp_path, modelopt_moe(), config=config).kv

    assert found == KvShape(full_attention(1, 2, 32).groups, (kept(FULL, 1),))


def test_a_list_where_a_number_is_read_is_no_fault(tmp_path: Path) -> None:
    config = {"intermediate_size": [8192, 16384], "num_experts_per_tok": [2]}

    found = layout_of(tmp_path, modelopt_moe(), config=config)

    assert found.widths.intermediate is None
    assert found.kv is not None
