"""What a repair promises: nothing half-written, nothing lost, the source untouched."""

import errno
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.errors import CheckpointError, DoesNotFitError, UsageError
from nvfp4_serve.repair import plan_repair, report
from nvfp4_serve.repair.finished import published
from nvfp4_serve.repair.partial import partial_folder
from nvfp4_serve.repair.types import Span
from repair.foreign import EXAMPLE, projection_first, read_tensors, write_checkpoint
from repair.running import Meddling, killed_half_way, planned, repaired

RECORD = "nvfp4-serve-repair.json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    foreign = projection_first(read_tensors(EXAMPLE))
    return write_checkpoint(tmp_path / "src", foreign, shards=6)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def flip_a_bit(target: int, span: Span) -> None:
    byte = os.pread(target, 1, span.target_at)[0] ^ 1
    os.pwrite(target, bytes([byte]), span.target_at)


def test_the_source_is_not_touched(tmp_path: Path, source: Path) -> None:
    before = contents(source)

    repaired(source, tmp_path / "dst")

    assert contents(source) == before


def test_a_killed_repair_goes_on_where_it_was(tmp_path: Path, source: Path) -> None:
    target, partial = tmp_path / "dst", tmp_path / "dst.partial"

    assert killed_half_way(source, target) == -signal.SIGKILL

    assert not target.exists()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(str(partial))
    assert "There is no `config.json`" in caught.value.evidence[0]
    kept = sorted(partial.glob("*.safetensors"))
    assert len(kept) == 3
    before = [path.stat().st_ino for path in kept]
    said: list[str] = []
    repaired(source, target, said=said)
    assert [(target / path.name).stat().st_ino for path in kept] == before
    assert sum("is there already, and right" in line for line in said) == 3
    assert read_tensors(target) == read_tensors(EXAMPLE)
    assert not partial.exists()
    assert not list(target.glob("*part"))


def test_what_a_killed_repair_left_is_not_trusted(tmp_path: Path, source: Path) -> None:
    target, partial = tmp_path / "dst", tmp_path / "dst.partial"
    killed_half_way(source, target)
    first = min(partial.glob("*.safetensors"))
    with first.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))

    repaired(source, target)

    assert read_tensors(target) == read_tensors(EXAMPLE)


def test_a_changed_source_starts_over(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "dst"
    killed_half_way(source, target)
    shard = min(source.glob("*.safetensors"))
    os.utime(shard, ns=(1, 1))
    said: list[str] = []

    repaired(source, target, said=said)

    assert "starting over" in said[0]
    assert not any("is there already" in line for line in said)


def test_another_version_starts_over(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "dst"
    killed_half_way(source, target)
    monkeypatch.setattr("nvfp4_serve.repair.make.__version__", "99")
    said: list[str] = []

    repaired(source, target, said=said)

    assert "starting over" in said[0]


@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_flipped_bit_is_found_and_leaves_nothing(
    tmp_path: Path, source: Path, after: int
) -> None:
    before = contents(source)

    with pytest.raises(CheckpointError, match="not what they should be"):
        repaired(source, tmp_path / "dst", copier=Meddling(flip_a_bit, after=after))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]
    assert contents(source) == before


def test_a_source_that_changes_meanwhile_is_found(tmp_path: Path, source: Path) -> None:
    def touch(_: int, __: Span) -> None:
        for shard in source.glob("*.safetensors"):
            os.utime(shard, ns=(1, 1))

    with pytest.raises(CheckpointError, match="was changed while it was repaired"):
        repaired(source, tmp_path / "dst", copier=Meddling(touch))

    assert not (tmp_path / "dst").exists()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_error_and_what_is_done_is_kept(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "dst"
    sizes = sorted(path.stat().st_size for path in source.glob("*.safetensors"))

    with (
        no_file_larger_than((sizes[0] + sizes[-1]) // 2),
        pytest.raises(DoesNotFitError, match="failed") as caught,
    ):
        repaired(source, target)

    assert "run the same again" in caught.value.fix
    assert not target.exists()
    repaired(source, target)
    assert read_tensors(target) == read_tensors(EXAMPLE)


def test_a_disk_that_fills_half_way_is_said_as_it_is(
    tmp_path: Path, source: Path
) -> None:
    def fill(_: int, __: Span) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DoesNotFitError, match="No space left on device"):
        repaired(source, tmp_path / "dst", copier=Meddling(fill, after=2))

    assert len(list((tmp_path / "dst.partial").glob("*.safetensors"))) == 2


def test_the_same_again_says_that_it_is_done(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "dst"
    first = repaired(source, target)
    before = contents(target)
    said: list[str] = []

    again = repaired(source, target, said=said)

    assert said[-1] == f"already repaired: {target}"
    assert again == first
    assert contents(target) == before
    assert not (tmp_path / "dst.partial").exists()


def test_anything_else_at_the_target_is_left_alone(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "dst"
    target.mkdir()

    with pytest.raises(UsageError, match="is there already"):
        repaired(source, target)

    assert list(target.iterdir()) == []


def test_a_damaged_result_is_not_taken_for_the_repair(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "dst"
    repaired(source, target)
    min(target.glob("*.safetensors")).unlink()

    with pytest.raises(UsageError, match="is not the repair of this checkpoint"):
        repaired(source, target)


@pytest.mark.parametrize(
    "name", ["model-00003-of-00006.safetensors", "config.json", "canary.json"]
)
def test_overwritten_bytes_of_a_result_are_found(
    tmp_path: Path, source: Path, name: str
) -> None:
    target = tmp_path / "dst"
    repaired(source, target)
    data = (target / name).read_bytes()
    (target / name).write_bytes(data[:-4] + bytes(byte ^ 1 for byte in data[-4:]))

    with pytest.raises(UsageError, match="changed or damaged since") as caught:
        repaired(source, target)

    assert any(name in line for line in caught.value.evidence)
    assert "Remove it" in caught.value.fix


def test_a_partial_folder_of_somebody_else_is_left_alone(
    tmp_path: Path, source: Path
) -> None:
    partial = tmp_path / "dst.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")

    with pytest.raises(UsageError, match="no repair made it"):
        repaired(source, tmp_path / "dst")

    assert (partial / "thesis.txt").read_text() == "mine"


def test_two_repairs_do_not_write_at_once(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "dst"
    repair = planned(source)
    with (
        partial_folder(target, repair.fingerprint, repair.names(), print),
        pytest.raises(UsageError, match="Another repair"),
    ):
        repaired(source, target)

    repaired(source, target)


@pytest.mark.parametrize(
    "where", ["src", "src/dst", "link", "link/dst", "other/../src"]
)
def test_the_target_is_never_inside_of_the_source(
    tmp_path: Path, source: Path, where: str
) -> None:
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "other").mkdir()
    before = contents(source)

    with pytest.raises(UsageError):
        repaired(source, tmp_path / where)

    assert contents(source) == before


def test_a_source_called_partial_is_not_taken_for_a_work_folder(
    tmp_path: Path, source: Path
) -> None:
    moved = source.rename(tmp_path / "dst.partial")
    before = contents(moved)

    with pytest.raises(UsageError, match="into the checkpoint itself"):
        repaired(moved, tmp_path / "dst")

    assert contents(moved) == before


def test_other_files_come_along_and_links_become_files(
    tmp_path: Path, source: Path
) -> None:
    (source / "modeling_own.py").write_text("x = 1\n")
    (source / "extra" / "deep").mkdir(parents=True)
    (source / "extra" / "deep" / "notes.txt").write_text("n")
    (source / "linked.txt").symlink_to("extra/deep/notes.txt")
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("ref")
    target = tmp_path / "dst"

    record = repaired(source, target)

    for name in (
        "modeling_own.py",
        "extra/deep/notes.txt",
        "linked.txt",
        "canary.json",
    ):
        assert (target / name).read_bytes() == (source / name).read_bytes()
        assert not (target / name).is_symlink()
        assert (target / name).stat().st_nlink == 1
    assert not (target / ".git").exists()
    assert record["left_out"] == [".git"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, source: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (source / "tokenizer.model").symlink_to(tmp_path / "secret")

    with pytest.raises(CheckpointError, match="outside of the checkpoint"):
        repaired(source, tmp_path / "dst")

    assert not (tmp_path / "dst.partial").exists()


def test_a_snapshot_of_the_hub_is_repaired_from_its_blobs(tmp_path: Path) -> None:
    model = tmp_path / "models--owner--name"
    plain = write_checkpoint(
        tmp_path / "plain", projection_first(read_tensors(EXAMPLE)), shards=2
    )
    snapshot = model / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, path in enumerate(sorted(plain.iterdir())):
        path.rename(model / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")

    repaired(snapshot, tmp_path / "dst")

    assert read_tensors(tmp_path / "dst") == read_tensors(EXAMPLE)


def test_the_record_says_what_was_changed(tmp_path: Path, source: Path) -> None:
    first = repaired(source, tmp_path / "one")
    second = repaired(source, tmp_path / "two")

    assert first.pop("date")
    assert second.pop("date")
    assert first == second
    record = json.loads((tmp_path / "one" / RECORD).read_text())
    assert record["kinds"] == ["projection-first"]
    assert first["source"]["folder"] == str(source)
    assert record["source"]["model"] == source.name
    assert str(tmp_path) not in (tmp_path / "one" / RECORD).read_text()
    assert record["tensors"] == {"kept": 45, "new_names": 96, "dropped": 0}
    assert record["date"]


def test_the_record_of_a_hub_checkpoint_says_its_id(source: Path) -> None:
    plan = planned(source)
    hub = replace(plan.source, model="owner/model", revision="abc")

    record = published(report(plan), hub)

    assert record["source"]["model"] == "owner/model"
    assert "folder" not in record["source"]


def test_what_is_not_downloaded_is_refused_with_the_way_to_have_it(
    source: Path,
) -> None:
    here = read_checkpoint(str(source))
    there = replace(here, model="owner/model", folder=None, revision="abc")

    with pytest.raises(CheckpointError, match="not on this machine") as caught:
        plan_repair(there, read_layout(there))

    assert "`hf download owner/model --revision abc`" in caught.value.fix
