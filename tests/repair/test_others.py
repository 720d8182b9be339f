"""What is somebody's stays theirs, and never becomes part of a result."""

import os
from pathlib import Path

import pytest

from nvfp4_serve.errors import UsageError
from nvfp4_serve.repair.types import Span
from repair.foreign import EXAMPLE, projection_first, read_tensors, write_checkpoint
from repair.running import Meddling, killed_half_way, repaired


@pytest.fixture
def source(tmp_path: Path) -> Path:
    foreign = projection_first(read_tensors(EXAMPLE))
    return write_checkpoint(tmp_path / "src", foreign, shards=2)


@pytest.fixture
def finished(tmp_path: Path, source: Path) -> Path:
    """A finished repair that happens to be called as work folders are."""
    repaired(source, tmp_path / "dst")
    return (tmp_path / "dst").rename(tmp_path / "good.partial")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_finished_repair_called_partial_is_left_alone(
    tmp_path: Path, source: Path, finished: Path
) -> None:
    (finished / "thesis.txt").write_text("mine")
    before = contents(finished)
    os.utime(min(source.glob("*.safetensors")), ns=(1, 1))

    with pytest.raises(UsageError, match="not an unfinished repair") as caught:
        repaired(source, tmp_path / "good")

    assert str(finished) in caught.value.problem
    assert "by hand" in caught.value.fix
    assert contents(finished) == before


def test_a_users_file_in_a_finished_repair_of_the_same_is_left_alone(
    tmp_path: Path, source: Path, finished: Path
) -> None:
    (finished / "thesis.txt").write_text("mine")
    before = contents(finished)

    with pytest.raises(UsageError, match="no part of the result"):
        repaired(source, tmp_path / "good")

    assert contents(finished) == before


def test_killed_before_the_last_rename_it_is_finished(
    tmp_path: Path, source: Path, finished: Path
) -> None:
    repaired(source, tmp_path / "good")

    assert read_tensors(tmp_path / "good") == read_tensors(EXAMPLE)
    assert not finished.exists()


@pytest.mark.parametrize("name", ["modeling_evil.py", "deep/evil.py", "link.py"])
def test_a_file_put_into_an_unfinished_repair_is_refused(
    tmp_path: Path, source: Path, name: str
) -> None:
    killed_half_way(source, tmp_path / "dst")
    evil = tmp_path / "dst.partial" / name
    evil.parent.mkdir(exist_ok=True)
    if name == "link.py":
        evil.symlink_to("/etc/hostname")
    else:
        evil.write_text("evil = 1")

    with pytest.raises(UsageError, match="no part of the result") as caught:
        repaired(source, tmp_path / "dst")

    assert name in caught.value.evidence
    evil.unlink()
    if name == "deep/evil.py":
        evil.parent.rmdir()
    repaired(source, tmp_path / "dst")
    assert read_tensors(tmp_path / "dst") == read_tensors(EXAMPLE)


def test_a_file_put_in_meanwhile_is_refused_at_the_end(
    tmp_path: Path, source: Path
) -> None:
    def put(_: int, __: Span) -> None:
        (tmp_path / "dst.partial" / "modeling_evil.py").write_text("evil = 1")

    with pytest.raises(UsageError, match="no part of the result"):
        repaired(source, tmp_path / "dst", copier=Meddling(put))

    assert not (tmp_path / "dst").exists()
    assert not (tmp_path / "dst.partial" / "config.json").exists()


@pytest.mark.parametrize("target", ["/", ".", ".."])
def test_a_target_without_a_name_is_refused(source: Path, target: str) -> None:
    with pytest.raises(UsageError, match="has no name"):
        repaired(source, Path(target))
