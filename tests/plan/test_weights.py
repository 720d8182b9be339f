"""What one of several GPUs holds."""

import pytest

from nvfp4_serve.checkpoint.shapes import Cut, Part
from nvfp4_serve.plan.weights import Split, Weights, stage_layers, stage_weights


def held(part: Part, split: Split, *, draft: bool = False) -> Weights:
    return stage_weights((part,), split, None, draft=draft)


def part(cut: Cut, size: int, units: int = 1) -> Part:
    return Part(cut, 0, units, draft=False, bytes=size)


@pytest.mark.parametrize(
    ("layers", "stages", "counts"),
    [
        (61, 1, [61]),
        (61, 2, [31, 30]),
        (61, 4, [15, 15, 16, 15]),
        (62, 4, [15, 16, 16, 15]),
        (63, 4, [16, 16, 16, 15]),
        (8, 8, [1] * 8),
    ],
)
def test_what_does_not_divide_goes_to_the_stages_before_the_last(
    layers: int, stages: int, counts: list[int]
) -> None:
    cut = stage_layers(layers, stages)

    assert list(map(len, cut)) == counts
    assert [n for stage in cut for n in stage] == list(range(layers))


@pytest.mark.parametrize(
    ("cut", "units", "split", "total"),
    [
        pytest.param(Cut.REPLICATED, 1, Split(8), 960, id="whole"),
        pytest.param(Cut.SHARDED, 1, Split(8), 120, id="cut"),
        pytest.param(Cut.KV_HEADS, 8, Split(4), 240, id="two-heads-each"),
        pytest.param(Cut.KV_HEADS, 2, Split(8), 480, id="one-head-at-least"),
        pytest.param(Cut.VOCABULARY, 96, Split(2), 640, id="128-rows-of-10-bytes"),
        pytest.param(Cut.VOCABULARY, 64, Split(2), 480, id="64-rows"),
        pytest.param(Cut.EXPERTS, 12, Split(8), 120, id="cut-experts"),
        pytest.param(Cut.EXPERTS, 12, Split(8, experts=True), 160, id="2-of-12"),
        pytest.param(Cut.EXPERTS, 12, Split(4, data=3, experts=True), 80, id="1-of-12"),
        pytest.param(Cut.EXPERTS, 12, Split(4, data=3), 240, id="a-copy-of-all"),
        pytest.param(Cut.EXPERT_SCALARS, 12, Split(8), 960, id="all-scalars"),
        pytest.param(
            Cut.EXPERT_SCALARS, 12, Split(4, experts=True), 240, id="their-scalars"
        ),
    ],
)
def test_each_kind_is_shared_in_its_own_way(
    cut: Cut, units: int, split: Split, total: int
) -> None:
    assert held(part(cut, 960, units), split).total == total


def test_rows_that_are_added_are_said_apart() -> None:
    weights = held(part(Cut.VOCABULARY, 960, 96), Split(2))

    assert (weights.sharded, weights.padded) == (480, 160)


def test_experts_of_the_fullest_layer_are_counted_for_repacking() -> None:
    parts = [
        Part(Cut.EXPERTS, layer, 4, draft=False, bytes=size)
        for layer, size in enumerate((400, 800, 400))
    ]

    weights = stage_weights(parts, Split(2), None, draft=False)

    assert (weights.experts, weights.all_experts) == (400, 800)


def test_a_draft_is_held_where_it_is_loaded() -> None:
    draft = Part(Cut.REPLICATED, None, 1, draft=True, bytes=960)

    assert held(draft, Split()).total == 0
    assert held(draft, Split(), draft=True).total == 960


def test_a_stage_holds_its_layers_and_what_belongs_to_none() -> None:
    parts = [
        Part(Cut.SHARDED, None, 1, draft=False, bytes=10),
        *(Part(Cut.SHARDED, n, 1, draft=False, bytes=100) for n in range(4)),
    ]

    weights = stage_weights(parts, Split(pipeline=2), range(3, 4), draft=False)

    assert weights.total == 110
