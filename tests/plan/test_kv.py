"""How a KV cache is laid out; ``test_memory_engine`` holds it against the engine."""

from dataclasses import replace
from fractions import Fraction

import pytest

from layouts import full_attention, layout
from nvfp4_serve.checkpoint.kv_compressed import read_compressed
from nvfp4_serve.checkpoint.schema import SizeConfig, TextConfig
from nvfp4_serve.checkpoint.shapes import KvKind, KvLayers, KvShape, KvState
from nvfp4_serve.plan.kv import Cache, Paging, lay_out
from nvfp4_serve.plan.memory import cache_value_bytes
from nvfp4_serve.units import GIB

#: 4 KV heads of 128: 2,048 bytes a token and layer in bfloat16.
PLAIN = full_attention(layers=8, heads=4, head_dim=128)
STATE = KvState(3, 512, 0, 0, 32_768, 4)
HYBRID = KvShape(
    (
        KvLayers(KvKind.STATE, (0, 1, 2), state=STATE),
        KvLayers(KvKind.FULL, (3,), heads=2, width=64),
    )
)


def cache(shape: KvShape, stage: range | None = None, **changes: object) -> Cache:
    made = lay_out(shape, replace(Paging(), **changes), stage)  # type: ignore[arg-type]
    assert made is not None
    return made


@pytest.mark.parametrize(("tensor", "heads"), [(1, 4), (2, 2), (4, 1), (8, 1)], ids=str)
def test_no_gpu_holds_less_than_one_kv_head(tensor: int, heads: int) -> None:
    assert cache(PLAIN, tensor=tensor).block_bytes == 16 * 8 * heads * 512


def test_latent_attention_is_the_same_on_every_gpu() -> None:
    shape = KvShape((KvLayers(KvKind.LATENT, (0, 1), width=576),))

    assert cache(shape).block_bytes == cache(shape, tensor=8).block_bytes


def test_a_stage_holds_the_cache_of_its_own_layers() -> None:
    assert cache(PLAIN, range(6)).block_bytes == 16 * 6 * 2048
    assert lay_out(PLAIN, Paging(), range(20, 30)) is None


@pytest.mark.parametrize(
    ("asked", "stored", "expected"),
    [
        (None, None, Fraction(2)),
        ("auto", "FP8", Fraction(1)),
        (None, "NVFP4", Fraction(9, 16)),
        ("fp8_e4m3", None, Fraction(1)),
        ("nvfp4", "FP8", Fraction(9, 16)),
        ("bfloat16", "FP8", Fraction(2)),
    ],
)
def test_the_bytes_of_a_value_follow_what_was_asked_for_and_then_the_checkpoint(
    asked: str | None, stored: str | None, expected: Fraction
) -> None:
    schemes = {"kv_cache": stored} if stored else {}

    assert cache_value_bytes(layout(schemes=schemes), asked) == expected


def test_the_page_of_attention_grows_to_that_of_a_state() -> None:
    # 512 x 3 x 2 + 32,768 x 4 bytes of state; 256 bytes of keys and values a token.
    made = cache(HYBRID, block=128)

    assert made.block == 640
    assert made.block_bytes == 640 * 256
    # Three tables of one state each, and one of attention.
    assert made.blocks_for(640) == 3 * 2 + 1


def test_a_state_is_kept_once_where_prefixes_are_not_and_more_often_for_drafts() -> (
    None
):
    once = cache(HYBRID, block=128, keeps_prefixes=False)
    drafted = cache(HYBRID, block=128, speculated=2)

    assert once.blocks_for(640) == 3 * 1 + 1
    assert drafted.blocks_for(drafted.block) == 3 * 4 + 1


def test_a_window_holds_what_is_on_its_way_and_no_more() -> None:
    slides = KvLayers(KvKind.SLIDING, (0, 1), heads=2, width=64, window=100)
    shape = KvShape((slides, KvLayers(KvKind.FULL, (2, 3), heads=2, width=64)))

    made = cache(shape, in_flight=1000)

    # 99 + 1,000 tokens, and a block that begins before them.
    assert made.blocks_for(16_000) == 1000 + -(-1099 // 16) + 1


def test_the_draft_is_counted_where_it_is_loaded() -> None:
    shape = replace(PLAIN, draft=(replace(PLAIN.groups[0], layers=(8,)),))

    assert cache(shape).block_bytes == 16 * 8 * 2048
    assert cache(shape, draft=True).block_bytes == 16 * 9 * 2048


@pytest.mark.parametrize("size", [GIB // 100, GIB // 7, GIB])
@pytest.mark.parametrize("shape", [PLAIN, HYBRID], ids=["plain", "hybrid"])
def test_the_longest_context_fits_and_one_block_more_does_not(
    shape: KvShape, size: int
) -> None:
    made = cache(shape)

    longest = made.longest_in(size, wanted=10_000_000)

    assert longest is not None
    assert made.bytes_for(longest) <= size < made.bytes_for(longest + made.block)


def test_a_cache_without_room_for_a_block_holds_no_context() -> None:
    made = cache(PLAIN)

    assert made.longest_in(made.block_bytes, 1000) is None
    assert made.longest_in(2 * made.block_bytes, 1000) == 16


def test_latent_pages_are_not_padded() -> None:
    odd = KvLayers(KvKind.SLIDING, (1,), heads=2, width=96, window=64)
    shape = KvShape((KvLayers(KvKind.LATENT, (0,), width=100), odd))

    assert lay_out(shape, Paging()) is None


def test_deepseek_v4_lays_pages_of_several_sizes_side_by_side() -> None:
    text = TextConfig(num_hidden_layers=4, head_dim=512, compress_ratios=[4, 128, 4, 0])
    size = SizeConfig(qk_rope_head_dim=64, index_head_dim=128, sliding_window=128)

    shape = read_compressed(text, size)

    assert shape is not None
    keys = [g for g in shape.groups if g.kind is KvKind.LATENT]
    # 64 rows of 584 bytes and of 132, and 2 rows of 584; multiples of 576.
    assert [(g.layers, g.page) for g in keys] == [
        ((0, 2), 37_440),
        ((0, 2), 8_640),
        ((1,), 1_728),
    ]
    assert cache(shape).block == 256


@pytest.mark.parametrize(
    "change",
    [{"head_dim": 64}, {"compress_ratios": [4, 8]}, {"compress_ratios": [4]}],
    ids=str,
)
def test_other_compressed_caches_are_not_known(change: dict[str, object]) -> None:
    said = {"num_hidden_layers": 2, "head_dim": 512, "compress_ratios": [4, 128]}
    text = TextConfig(**said | change)  # type: ignore[arg-type]
    size = SizeConfig(qk_rope_head_dim=64, index_head_dim=128, sliding_window=128)

    assert read_compressed(text, size) is None
