"""Nothing that is not ours is removed, and nothing that is finished."""

import ctypes
import fcntl
import os
from pathlib import Path

import pytest

from nvfp4_serve.errors import QuantizeError, UsageError
from nvfp4_serve.quantize.make import check_wish, make_checkpoint
from quantize.worlds import (
    DONE,
    HELLO,
    MARK,
    STAND_IN,
    meant_line,
    set_stand_in,
    wish_of,
)
from stand_in import quiet


@pytest.mark.parametrize(
    ("model", "out", "says"),
    [
        ("o.partial", "o", "written into MODEL"),
        ("o.partial/deep/model", "o", "would be lost"),
        ("m", "m/out", "written into MODEL"),
        ("m", "m/deep/out", "written into MODEL"),
        ("m", "link/out", "written into MODEL"),
        ("link", "m/out", "written into MODEL"),
        ("m", "m", "is there already"),
    ],
)
def test_a_run_that_would_write_into_its_model_is_refused(
    tmp_path: Path, model: str, out: str, says: str
) -> None:
    (tmp_path / "m" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("m")
    source = tmp_path / model
    source.mkdir(parents=True, exist_ok=True)
    (source / "model.safetensors").write_bytes(b"weights")
    wish = wish_of(tmp_path, model=str(source), out=tmp_path / out)

    with pytest.raises(UsageError, match=says):
        check_wish(wish)
    with pytest.raises(UsageError, match=says):
        make_checkpoint(wish, STAND_IN, quiet)

    assert (source / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_read_may_not_lie_where_a_run_clears(
    tmp_path: Path, *, is_link: bool
) -> None:
    text = tmp_path / "out.partial" / "text.txt"
    text.parent.mkdir()
    (text.parent / MARK).touch()
    text.write_text("Shall I compare thee")
    link = tmp_path / "link.txt"
    link.symlink_to(text)
    wish = wish_of(tmp_path, calibration=link if is_link else text)

    with pytest.raises(UsageError, match="would be lost"):
        make_checkpoint(wish, STAND_IN, quiet)

    assert text.exists()


def test_a_folder_of_somebody_else_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    kept = tmp_path / "out.partial" / "thesis.txt"
    kept.write_text("years")

    with pytest.raises(UsageError, match="no `quantize` made it") as caught:
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert kept.read_text() == "years"
    assert "out.partial" in caught.value.problem
    assert "Remove or rename it" in caught.value.fix


@pytest.mark.parametrize("is_link", [True, False])
def test_no_link_is_followed_and_no_file_removed(
    tmp_path: Path, *, is_link: bool
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / MARK).touch()
    (other / "thesis.txt").write_text("years")
    if is_link:
        (tmp_path / "out.partial").symlink_to(other)
    else:
        (tmp_path / "out.partial").write_text("a file")

    with pytest.raises(UsageError, match="no `quantize` made it"):
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert (other / "thesis.txt").exists()


def test_a_link_that_a_cut_off_run_left_goes_and_not_what_it_leads_to(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / MARK).touch()
    (tmp_path / "out.partial" / "link").symlink_to(good)
    set_stand_in(monkeypatch, good, HELLO, meant_line(), DONE)

    make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert (good / "config.json").exists()


@pytest.mark.parametrize("in_one_step", [True, False])
def test_an_out_that_appears_meanwhile_is_not_replaced_and_the_work_is_kept(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, *, in_one_step: bool
) -> None:
    out, made = tmp_path / "out", tmp_path / "out.partial" / "checkpoint"
    if not in_one_step:  # As on a system whose kernel or libc cannot.
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: None)
    set_stand_in(monkeypatch, good, HELLO, meant_line(), DONE, mkdir=out)

    with pytest.raises(QuantizeError, match="is finished, but") as caught:
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert list(out.iterdir()) == []
    assert (made / "config.json").exists()
    assert str(made) in caught.value.evidence[0]
    assert f"mv -nT {made}" in caught.value.fix
    out.rmdir()
    with pytest.raises(UsageError, match="finished checkpoint of an earlier run"):
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)
    assert (made / "config.json").exists()


def test_a_name_is_given_without_the_one_step_rename_too(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: None)
    set_stand_in(monkeypatch, good, HELLO, meant_line(), DONE)

    make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert (tmp_path / "out" / "config.json").exists()
    assert not (tmp_path / "out.partial").exists()


def test_two_runs_never_write_the_same_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    handle = os.open(tmp_path / "out.partial", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)

    with pytest.raises(UsageError, match="Another `quantize`"):
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)
    os.close(handle)


def test_a_folder_that_its_holder_removes_meanwhile_is_made_anew(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, take = tmp_path / "out.partial", fcntl.flock
    removed: list[Path] = []

    def flock_late(handle: int, how: int) -> None:
        if not removed:
            removed.append(folder)
            folder.rmdir()
        take(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    set_stand_in(monkeypatch, good, HELLO, meant_line(), DONE)

    make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert (tmp_path / "out").is_dir()
