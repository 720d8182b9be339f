"""What is read of a folder, and that it is no weight."""

import io
import json
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

from checkpoint.builders import (
    body_bytes,
    header_of,
    modelopt_moe,
    tensor_count,
    write_checkpoint,
    write_index,
    write_shard,
)
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.header import parse_header, read_header
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.finding import Severity

MORE = {"model.more.weight": ("BF16", (8, 8))}
#: numpy's word to the format's.
WORDS = {
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "uint8": "U8",
    "bool": "BOOL",
}


def bytes_read_so_far() -> int:
    """Return what this process has asked the operating system for, by ``read``."""
    counters = Path("/proc/self/io").read_text().splitlines()
    return int(counters[0].removeprefix("rchar: "))


def test_reads_no_weight_of_a_folder(tmp_path: Path) -> None:
    big = {
        f"model.layers.{i}.mlp.up_proj.weight": ("BF16", (1 << 14, 1 << 14))
        for i in range(4)
    }
    write_checkpoint(tmp_path, big, shards=4)
    read_checkpoint(str(tmp_path))
    before = bytes_read_so_far()

    checkpoint = read_checkpoint(str(tmp_path))

    assert bytes_read_so_far() - before < 16_384
    assert read_layout(checkpoint).weight_bytes == 4 << 29


def test_reads_nothing_behind_the_header(tmp_path: Path) -> None:
    class Trickle(io.FileIO):
        def read(self, count: int | None = -1) -> bytes:
            # A short read is allowed, and must be put together.
            assert count is not None
            return super().read(min(count, 3)) or b""

    write_checkpoint(tmp_path, modelopt_moe())
    path = tmp_path / "model.safetensors"

    with Trickle(path) as file:
        raw = read_header(cast(BinaryIO, file), label="x", size=path.stat().st_size)
        position = file.tell()

    assert position == 8 + len(raw)
    assert len(parse_header(raw, label="x", scratch=bytearray())) == len(modelopt_moe())


@pytest.mark.parametrize("seed", range(8))
def test_counts_what_numpy_wrote(tmp_path: Path, seed: int) -> None:
    """Random shapes and dtypes, bodies and all, split over shards at random."""
    random = np.random.default_rng(seed)
    arrays = {
        f"model.layers.{number}.part{random.integers(3)}.weight": random.integers(
            0, 2, tuple(random.integers(0, 9, random.integers(0, 4)))
        ).astype(random.choice(list(WORDS)))
        for number in range(40)
    }
    write_checkpoint(tmp_path, {"x": ("U8", (1,))})
    (tmp_path / "model.safetensors").unlink()
    names, shards = list(arrays), int(random.integers(2, 5))
    weight_map = {}
    for shard in range(shards):
        file = f"part-{shard}.safetensors"
        _write_arrays(tmp_path / file, {n: arrays[n] for n in names[shard::shards]})
        weight_map.update(dict.fromkeys(names[shard::shards], file))
    write_index(tmp_path, weight_map)

    checkpoint = read_checkpoint(str(tmp_path))

    assert tensor_count(checkpoint) == len(arrays)
    stored = {
        (group.name, tensor.suffix, tensor.shape, tensor.bytes)
        for group in checkpoint.groups
        for tensor in group.tensors
    }
    assert stored == {
        (*name.rsplit(".", 1), array.shape, array.nbytes)
        for name, array in arrays.items()
    }


def _write_arrays(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    entries, cursor = {}, 0
    for name, array in arrays.items():
        entries[name] = {
            "dtype": WORDS[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (cursor, cursor + array.nbytes),
        }
        cursor += array.nbytes
    header = json.dumps(entries).encode()
    body = b"".join(array.tobytes() for array in arrays.values())
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)


def test_puts_a_module_together_that_lies_in_two_shards(tmp_path: Path) -> None:
    whole = read_checkpoint(str(write_checkpoint(tmp_path / "one", modelopt_moe())))

    split = read_checkpoint(
        str(write_checkpoint(tmp_path / "five", modelopt_moe(), shards=5))
    )

    assert split.groups == whole.groups


def test_folds_the_experts_of_a_layer_into_one_group(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(
        str(write_checkpoint(tmp_path, modelopt_moe(experts=7)))
    )

    up = [
        g for g in checkpoint.groups if g.name == "model.layers.0.mlp.experts.*.up_proj"
    ]

    assert [(group.count, group.example) for group in up] == [
        (7, "model.layers.0.mlp.experts.0.up_proj")
    ]


@pytest.mark.parametrize("shared", [False, True])
def test_accepts_the_links_of_a_snapshot_in_the_hub_cache(
    tmp_path: Path, *, shared: bool
) -> None:
    model = tmp_path / "hub" / "models--owner--name"
    snapshot = write_checkpoint(model / "snapshots" / "abc", modelopt_moe())
    blobs = model / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        blob = blobs / f"blob{number}"
        file.rename(blob)
        file.symlink_to(Path("../../blobs") / blob.name)
        if shared:
            store = tmp_path / "hub" / "blobs"
            store.mkdir(exist_ok=True)
            (store / ".huggingface-shared-blobs").write_text("1")
            blob.rename(store / blob.name)
            blob.symlink_to(Path("../../blobs") / blob.name)

    checkpoint = read_checkpoint(str(snapshot))

    assert tensor_count(checkpoint) == len(modelopt_moe())


def test_warns_of_a_tensor_that_the_index_does_not_name(tmp_path: Path) -> None:
    tensors = modelopt_moe()
    write_checkpoint(tmp_path, tensors, shards=2)
    names = list(tensors)
    shard = "model-0000{}-of-00002.safetensors"
    write_index(
        tmp_path, {n: shard.format(i % 2 + 1) for i, n in enumerate(names) if i != 3}
    )

    notes = read_checkpoint(str(tmp_path)).notes

    assert [(note.id, note.severity) for note in notes] == [
        ("index-disagrees", Severity.WARNING)
    ]
    assert names[3] in notes[0].message


def test_mentions_a_shard_that_no_index_names(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, modelopt_moe(), shards=2)
    write_shard(tmp_path / "left.safetensors", b"{}", 0)

    notes = read_checkpoint(str(tmp_path)).notes

    assert [note.id for note in notes] == ["shard-not-indexed"]
    assert "left.safetensors" in notes[0].message


def test_reads_every_shard_where_there_is_no_index(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, modelopt_moe(), shards=3)
    (tmp_path / "model.safetensors.index.json").unlink()

    assert tensor_count(read_checkpoint(str(tmp_path))) == len(modelopt_moe())


def test_reads_every_file_of_a_folder_without_an_index(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, modelopt_moe())
    write_shard(tmp_path / "more.safetensors", header_of(MORE), body_bytes(MORE))

    assert tensor_count(read_checkpoint(str(tmp_path))) == len(modelopt_moe()) + 1


@pytest.mark.parametrize("kept", [(1,), (1, 3), (3,)])
def test_counts_the_shards_where_there_is_no_index(
    tmp_path: Path, kept: tuple[int, ...]
) -> None:
    write_checkpoint(tmp_path, modelopt_moe(), shards=3)
    (tmp_path / "model.safetensors.index.json").unlink()
    gone = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3) if n not in kept]
    for name in gone:
        (tmp_path / name).unlink()

    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(str(tmp_path))

    assert caught.value.evidence == tuple(gone)


def test_says_that_mistrals_own_format_would_be_loaded(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, modelopt_moe())
    consolidated = tmp_path / "consolidated-00001-of-00001.safetensors"
    write_shard(consolidated, header_of(MORE), body_bytes(MORE))

    checkpoint = read_checkpoint(str(tmp_path))

    assert tensor_count(checkpoint) == len(modelopt_moe())
    assert [note.id for note in checkpoint.notes] == ["consolidated-weights"]
    assert consolidated.name in checkpoint.notes[0].message


def test_names_what_was_given_where_it_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()

    with pytest.raises(CheckpointError) as absent:
        read_checkpoint("./nothere")
    with pytest.raises(CheckpointError) as empty:
        read_checkpoint("./empty")

    assert absent.value.problem == "There is no folder `./nothere`."
    assert "no `config.json` in `./empty`" in " ".join(empty.value.evidence)
