"""What config.json says of the model itself."""

from pathlib import Path

from checkpoint.builders import (
    modelopt_moe,
)
from checkpoint.judged import found, layout_of
from nvfp4_serve.finding import Severity


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
