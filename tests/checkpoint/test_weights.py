"""How each weight is cut; ``plan/test_memory_engine`` holds the sums against vLLM."""

from collections import Counter
from pathlib import Path

import pytest

from checkpoint.builders import modelopt_moe
from checkpoint.judged import layout_of
from headers import HEADERS, export_config, write_export
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.shapes import Cut
from nvfp4_serve.checkpoint.types import Layout

_UNCHANGED = [
    path.name
    for path in sorted(HEADERS.iterdir())
    if path.is_dir() and "0.37" not in path.name
]


def read(name: str, folder: Path) -> Layout:
    return read_layout(
        read_checkpoint(str(write_export(name, folder, export_config(name))))
    )


@pytest.mark.parametrize("name", _UNCHANGED)
def test_every_byte_belongs_to_one_part(name: str, tmp_path: Path) -> None:
    found = read(name, tmp_path)

    # Experts that are stored together share scalars; taken apart each has its own.
    tolerance = 1e-3 if found.layout == "modelopt-fused" else 0
    total = sum(part.bytes for part in found.parts)
    assert total == pytest.approx(found.weight_bytes, rel=tolerance, abs=0)


def test_each_kind_of_layer_is_cut_in_its_own_way(tmp_path: Path) -> None:
    found = read("modelopt-0.47.0-deepseek-v3", tmp_path)

    sizes: Counter[Cut] = Counter()
    for part in found.parts:
        sizes[part.cut] += part.bytes
    # Two tables of 288 rows, and 12 experts in each of two layers.
    assert sizes[Cut.VOCABULARY] == 2 * 288 * 160 * 2
    assert sizes[Cut.EXPERTS] == 2 * 12 * 3 * 160 * 96 * 9 // 16
    assert sizes[Cut.EXPERT_SCALARS] == 2 * 12 * 3 * 2 * 4
    assert Cut.KV_HEADS not in sizes
    assert sizes[Cut.SHARDED] > 0 < sizes[Cut.REPLICATED]


def test_the_matrices_of_latent_attention_are_held_twice(tmp_path: Path) -> None:
    found = read("modelopt-0.47.0-deepseek-v3", tmp_path)

    # 3 layers, 6 heads of 48 + 48, from 512; bfloat16.
    assert found.widths.absorbed == 3 * 6 * 96 * 512 * 2


def test_a_draft_is_a_part_of_its_own(tmp_path: Path) -> None:
    found = read("constructed-deepseek-v4-nvfp4-mxfp4-mtp", tmp_path)

    assert {part.draft for part in found.parts} == {True, False}
    assert all(part.layer is None for part in found.parts if part.draft)


def test_a_head_that_is_the_embeddings_is_loaded_once(tmp_path: Path) -> None:
    found = layout_of(tmp_path, modelopt_moe(), config={"tie_word_embeddings": True})

    (table,) = (part for part in found.parts if part.cut is Cut.VOCABULARY)
    assert table.bytes == 256 * 96 * 2


def test_kv_heads_are_counted(tmp_path: Path) -> None:
    found = read("modelopt-0.47.0-nvfp4", tmp_path)

    heads = {part.units for part in found.parts if part.cut is Cut.KV_HEADS}
    assert heads == {2}
