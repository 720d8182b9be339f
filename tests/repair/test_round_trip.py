"""A right export, written in a foreign layout and repaired, is what it was."""

import json
from pathlib import Path

import pytest

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.repair import plan_repair, run_repair
from repair.foreign import (
    EXAMPLE,
    HEADERS,
    Foreign,
    Tensor,
    Tensors,
    filled,
    fused_columns,
    fused_rows,
    packed_names,
    projection_first,
    quantizer_state,
    read_metadata,
    read_tensors,
    write_checkpoint,
)

INDEX = "model.safetensors.index.json"


def silent(_: str) -> None:
    pass


def repaired(source: Path, target: Path) -> Path:
    checkpoint = read_checkpoint(str(source))
    run_repair(plan_repair(checkpoint, read_layout(checkpoint)), target, silent)
    return target


def assert_same(found: Tensors, right: Tensors) -> None:
    assert found.keys() == right.keys()
    assert [name for name in right if found[name] != right[name]] == []


LAYOUTS = [
    pytest.param(projection_first, id="B"),
    pytest.param(quantizer_state, id="C2"),
    pytest.param(fused_columns("_"), id="D1-underscore"),
    pytest.param(fused_columns("."), id="D1-dot"),
    pytest.param(fused_rows("_"), id="D2-underscore"),
    pytest.param(fused_rows("."), id="D2-dot"),
    pytest.param(packed_names, id="packed-name"),
    pytest.param(lambda t: projection_first(packed_names(t)), id="B-packed-name"),
]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("foreign", LAYOUTS)
def test_a_repair_gives_back_every_byte(
    tmp_path: Path, foreign: Foreign, shards: int
) -> None:
    right = read_tensors(EXAMPLE)
    source = write_checkpoint(tmp_path / "src", foreign(right), shards=shards)

    target = repaired(source, tmp_path / "dst")

    assert_same(read_tensors(target), right)
    layout = read_layout(read_checkpoint(str(target)))
    assert (layout.layout, layout.rewrites) == ("modelopt-per-expert", ())
    assert layout.overlay is None
    assert layout.servable


@pytest.mark.parametrize("foreign", LAYOUTS)
def test_tensors_are_aligned_though_they_were_stored_in_any_order(
    tmp_path: Path, foreign: Foreign
) -> None:
    # Three bytes in front: what is wider than a byte lies at odd places then.
    right = {"odd": Tensor("F8_E4M3", (3,), b"odd")} | read_tensors(EXAMPLE)
    backwards = dict(sorted(foreign(right).items(), reverse=True))
    source = write_checkpoint(tmp_path / "src", backwards, wide_first=False)

    # Reading holds each tensor to its alignment.
    assert_same(read_tensors(repaired(source, tmp_path / "dst")), right)


@pytest.mark.parametrize("name", ["modelopt-0.47.0-nvfp4", "modelopt-0.47.0-fp8-kv"])
@pytest.mark.parametrize("foreign", [projection_first, packed_names])
def test_exports_of_modelopt_come_back(
    tmp_path: Path, name: str, foreign: Foreign
) -> None:
    right = filled(name)
    source = write_checkpoint(
        tmp_path / "src", foreign(right), like=HEADERS / name, shards=2
    )

    assert_same(read_tensors(repaired(source, tmp_path / "dst")), right)


def test_the_index_and_the_metadata_are_right(tmp_path: Path) -> None:
    right = read_tensors(EXAMPLE)
    source = write_checkpoint(tmp_path / "src", projection_first(right), shards=3)

    target = repaired(source, tmp_path / "dst")

    index = json.loads((target / INDEX).read_text())
    size = sum(len(tensor.data) for tensor in right.values())
    assert index["metadata"] == {"total_size": size, "by": "a test"}
    assert index["weight_map"].keys() == right.keys()
    shards = sorted(path.name for path in target.glob("*.safetensors"))
    assert shards == sorted(path.name for path in source.glob("*.safetensors"))
    for shard in shards:
        held = {name for name, where in index["weight_map"].items() if where == shard}
        (target / "one").mkdir(exist_ok=True)
        link = target / "one" / "model.safetensors"
        link.unlink(missing_ok=True)
        link.symlink_to(target / shard)
        assert read_tensors(target / "one").keys() == held
        assert read_metadata(target / shard) == {"format": "pt", "by": "a test"}


def test_a_shard_that_needs_nothing_is_copied_as_it_is(tmp_path: Path) -> None:
    right = read_tensors(EXAMPLE)
    experts = {n: t for n, t in projection_first(right).items() if "experts" in n}
    others = {n: t for n, t in right.items() if "experts" not in n}
    ordered = dict(sorted(others.items())) | dict(sorted(experts.items()))
    source = write_checkpoint(tmp_path / "src", ordered, shards=8, wide_first=False)

    target = repaired(source, tmp_path / "dst")

    first, *_, last = sorted(path.name for path in source.glob("*.safetensors"))
    assert (target / first).read_bytes() == (source / first).read_bytes()
    assert (target / last).read_bytes() != (source / last).read_bytes()
    assert_same(read_tensors(target), right)


def test_the_fast_path_keeps_the_place_of_bytes_within_their_block(
    tmp_path: Path,
) -> None:
    source = write_checkpoint(tmp_path / "src", projection_first(read_tensors(EXAMPLE)))
    checkpoint = read_checkpoint(str(source))

    (shard,) = plan_repair(checkpoint, read_layout(checkpoint)).shards

    old = 8 + int.from_bytes((source / "model.safetensors").read_bytes()[:8], "little")
    assert len(shard.head) % 4096 == old % 4096
