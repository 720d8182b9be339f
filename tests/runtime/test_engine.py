import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvfp4_serve.errors import EngineError, ExitCode, PatchError
from nvfp4_serve.runtime.engine import (
    find_engine,
    in_use,
    install_engine,
    list_engines,
    list_unfinished,
    remove_engine,
    verify_engine,
)
from nvfp4_serve.runtime.folders import lock_of
from nvfp4_serve.runtime.lock import exclusive_or_not
from nvfp4_serve.runtime.proc import read_process
from stand_in import quiet, running
from tiny_engine import Tiny, make_tiny
from waiting import wait_for

pytestmark = pytest.mark.uv

_TESTS = Path(__file__).parents[1]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny engine, and an environment in which nothing else can be installed."""
    for name in [n for n in os.environ if n.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "made-of" / "wheels"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return make_tiny(tmp_path / "made-of")


def folders(tmp_path: Path) -> list[str]:
    """Return what is in the folder of the engines, locks left out."""
    home = tmp_path / "data" / "nvfp4-serve" / "engines"
    return sorted(p.name for p in home.glob("*") if p.suffix != ".lock")


def test_an_engine_that_is_not_installed_is_not_found(tiny: Tiny) -> None:
    assert find_engine(tiny.spec) is None
    assert list_engines() == ()


def test_an_installed_engine_is_found_and_says_what_is_in_it(tiny: Tiny) -> None:
    made = install_engine(tiny.spec, quiet)

    assert find_engine(tiny.spec) == made
    assert list_engines() == (made,)
    assert re.fullmatch(r"tiny-1\.0-[0-9a-f]{12}", made.id)
    assert made.packages == {"tiny": "1.0", "torch": "2.13.0+cpu"}
    assert made.torch_version == "2.13.0+cpu"
    assert len(made.torch_record_sha256) == 64
    assert made.patch_digest == "one"
    assert (made.site_packages / "patched").read_text() == "yes"


def test_the_python_of_an_engine_works_where_the_engine_was_moved_to(
    tiny: Tiny,
) -> None:
    made = install_engine(tiny.spec, quiet)

    done = subprocess.run(
        [made.python, "-I", "-c", "import sys, tiny; print(tiny.answer, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["42", str(made.folder)]


def test_installing_again_changes_nothing_and_says_nothing(tiny: Tiny) -> None:
    made = install_engine(tiny.spec, quiet)
    said: list[str] = []

    again = install_engine(tiny.spec, said.append)

    assert again == made
    assert said == []


def test_a_changed_patch_set_makes_another_engine_beside_the_first(tiny: Tiny) -> None:
    first = install_engine(tiny.spec, quiet)
    tiny.set_digest("two")

    assert find_engine(tiny.spec) is None
    second = install_engine(tiny.spec, quiet)

    assert second.id != first.id
    assert {engine.id for engine in list_engines()} == {first.id, second.id}


def test_a_changed_list_of_requirements_makes_another_engine(tiny: Tiny) -> None:
    first = install_engine(tiny.spec, quiet)
    requirements = tiny.spec.requirements
    requirements.write_text(requirements.read_text() + "# another\n")

    assert find_engine(tiny.spec) is None
    assert install_engine(tiny.spec, quiet).id != first.id


def test_a_half_made_engine_is_not_found_and_makes_way_for_a_whole_one(
    tiny: Tiny, tmp_path: Path
) -> None:
    made = install_engine(tiny.spec, quiet)
    made.folder.rename(made.folder.with_name(f"{made.id}.partial"))

    assert find_engine(tiny.spec) is None
    assert list_engines() == ()
    assert install_engine(tiny.spec, quiet).id == made.id
    assert folders(tmp_path) == [made.id]


def test_a_patched_file_that_was_changed_later_is_found_at_the_start(
    tiny: Tiny,
) -> None:
    made = install_engine(tiny.spec, quiet)
    verify_engine(made, tiny.spec)
    (made.site_packages / "patched").write_text("no")

    with pytest.raises(PatchError, match="was changed since") as caught:
        verify_engine(made, tiny.spec)

    assert "not what the lock says" in caught.value.evidence[0]
    assert f"engine remove {made.id}" in caught.value.fix


@pytest.mark.parametrize("verb", ["apply", "verify"])
def test_patches_that_do_not_fit_leave_nothing(
    tiny: Tiny, tmp_path: Path, verb: str
) -> None:
    tiny.break_patch_tool(verb)

    with pytest.raises(PatchError, match="was not installed") as caught:
        install_engine(tiny.spec, quiet)

    assert caught.value.evidence == ("a hunk occurs twice",)
    assert folders(tmp_path) == []


def test_a_file_with_another_hash_is_refused_and_leaves_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    tiny.add_wheel("tiny", "1.0", {"tiny.py": "answer = 43\n"})

    with pytest.raises(EngineError, match="not the one that nvfp4-serve was pinned"):
        install_engine(tiny.spec, quiet)

    assert folders(tmp_path) == []


def test_on_a_terminal_uv_shows_itself_and_its_words_are_known_all_the_same(
    tiny: Tiny, tmp_path: Path
) -> None:
    tiny.add_wheel("tiny", "1.0", {"tiny.py": "answer = 43\n"})
    ours, theirs = os.openpty()
    command = [sys.executable, str(_TESTS / "install_tiny.py"), str(tiny.folder)]
    with subprocess.Popen(command, stderr=theirs) as installing:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other side is closed.
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)

        assert installing.wait(timeout=20) == ExitCode.ENGINE
    assert b"Using CPython" in shown
    assert b"error: The engine was not installed: installing tiny 1.0" in shown
    assert b"not the one that nvfp4-serve was pinned to" in shown
    assert folders(tmp_path) == []


def test_an_index_that_cannot_be_reached_is_said_so_and_leaves_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    # Nothing listens on port 9 (discard) of a machine of today.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/packages")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    without_torch = dataclasses.replace(tiny.spec, torch=None)

    with pytest.raises(EngineError, match="index cannot be reached") as caught:
        install_engine(without_torch, quiet)

    assert "PIP_INDEX_URL" in caught.value.fix
    assert folders(tmp_path) == []


def test_a_torch_that_is_not_built_for_the_cpu_is_refused(
    tiny: Tiny, tmp_path: Path
) -> None:
    tiny.add_wheel(
        "torch",
        "2.13.0+cpu",
        {"torch/__init__.py": "", "torch/version.py": "cuda = '13.0'\n"},
    )

    with pytest.raises(EngineError, match=r"torch 2\.13\.0.cpu is built for CUDA 13"):
        install_engine(tiny.spec, quiet)

    assert folders(tmp_path) == []


def test_an_engine_that_cannot_be_imported_is_not_kept(
    tiny: Tiny, tmp_path: Path
) -> None:
    broken = dataclasses.replace(tiny.spec, smoke="tiny.missing")

    with pytest.raises(EngineError, match=r"cannot import `tiny.missing`"):
        install_engine(broken, quiet)

    assert folders(tmp_path) == []


def test_too_little_free_space_is_found_before_anything_is_fetched(
    tiny: Tiny, tmp_path: Path
) -> None:
    huge = dataclasses.replace(tiny.spec, installed_bytes=1 << 60)

    with pytest.raises(EngineError, match=r"needs 1073741824.0 GiB .* has [\d.]+ GiB"):
        install_engine(huge, quiet)

    assert folders(tmp_path) == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_fills_up_half_way_is_said_so_and_leaves_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    home = tmp_path / "data"
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", home], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here; run as root of the machine")
    try:
        small = dataclasses.replace(tiny.spec, installed_bytes=1)
        tiny.add_wheel(
            "torch",
            "2.13.0+cpu",
            {"torch/version.py": "cuda = None\n", "torch/big.py": "#" * (1 << 20)},
        )

        with pytest.raises(EngineError, match="The disk is full") as caught:
            install_engine(small, quiet)

        assert "XDG_DATA_HOME" in caught.value.fix
        assert folders(tmp_path) == []
    finally:
        subprocess.run(["umount", home], check=True)


@pytest.mark.parametrize("place", ["/proc/nowhere", "made-of/digest/inside-a-file"])
def test_a_place_where_no_engine_can_be_is_said_so(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / place))

    assert find_engine(tiny.spec) is None
    assert list_engines() == ()
    with pytest.raises(EngineError, match=r"was not installed: `.*cannot be") as caught:
        install_engine(tiny.spec, quiet)

    assert str(tmp_path / place) in caught.value.problem + caught.value.fix
    assert "XDG_DATA_HOME" in caught.value.fix


def test_an_engine_whose_python_has_gone_is_noticed_and_made_again(
    tiny: Tiny, tmp_path: Path
) -> None:
    made = install_engine(tiny.spec, quiet)
    made.python.unlink()
    made.python.symlink_to(tmp_path / "a-python-that-was-upgraded")

    with pytest.raises(EngineError, match=f"The Python of .* `{made.id}`") as caught:
        verify_engine(made, tiny.spec)
    again = install_engine(tiny.spec, quiet)

    assert "a-python-that-was-upgraded" in caught.value.evidence[0]
    assert "engine install" in caught.value.fix
    assert again.id == made.id
    verify_engine(again, tiny.spec)
    assert folders(tmp_path) == [made.id]


def test_two_at_once_make_one_engine_and_the_second_says_that_it_waits(
    tiny: Tiny, tmp_path: Path
) -> None:
    with installing_elsewhere(tiny, tmp_path) as other:
        said: list[str] = []

        def hear(line: str) -> None:
            said.append(line)
            (tiny.folder / "go").touch()

        made = install_engine(tiny.spec, hear)

        assert other.wait(timeout=20) == 0
    waiting = f"waiting for another installation of {made.id} (process {other.pid})"
    assert said == [waiting]
    assert folders(tmp_path) == [made.id]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_installation_leaves_nothing(
    tiny: Tiny, tmp_path: Path, number: signal.Signals
) -> None:
    with installing_elsewhere(tiny, tmp_path) as other:
        other.send_signal(number)

        assert other.wait(timeout=20) == 130
    assert folders(tmp_path) == []


def test_an_installation_that_was_killed_is_cleared_away_by_the_next(
    tiny: Tiny, tmp_path: Path
) -> None:
    with installing_elsewhere(tiny, tmp_path) as other:
        other.kill()
    assert folders(tmp_path) != []
    assert find_engine(tiny.spec) is None
    (tiny.folder / "go").touch()

    made = install_engine(tiny.spec, quiet)

    assert folders(tmp_path) == [made.id]


def test_what_a_killed_installation_of_another_engine_left_is_shown_and_cleared_away(
    tiny: Tiny, tmp_path: Path
) -> None:
    with installing_elsewhere(tiny, tmp_path) as other:
        other.kill()
    (left,) = list_unfinished()
    tiny.set_digest("two")
    (tiny.folder / "go").touch()
    said: list[str] = []

    made = install_engine(tiny.spec, said.append)

    assert made.id != left
    assert said[0] == f"clearing away an unfinished installation of {left}"
    assert list_unfinished() == ()
    assert folders(tmp_path) == [made.id]


def test_another_installation_that_goes_on_is_not_cleared_away(
    tiny: Tiny, tmp_path: Path
) -> None:
    with installing_elsewhere(tiny, tmp_path) as other:
        (unfinished,) = list_unfinished()
        quick = dataclasses.replace(tiny.spec, series=tiny.quick_series())

        made = install_engine(quick, quiet)

        assert list_unfinished() == (unfinished,)
        (tiny.folder / "go").touch()
        assert other.wait(timeout=20) == 0
    assert folders(tmp_path) == sorted([made.id, unfinished])


def test_what_a_killed_installation_left_can_be_removed_by_its_id(
    tiny: Tiny, tmp_path: Path
) -> None:
    with installing_elsewhere(tiny, tmp_path) as other:
        other.kill()

    remove_engine(list_unfinished()[0], quiet)

    assert folders(tmp_path) == []


def test_the_first_import_ends_with_an_installation_that_is_killed(
    tiny: Tiny, tmp_path: Path
) -> None:
    pid_file = tiny.folder / "importing"
    endless = f"""
import os, pathlib, time
pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))
time.sleep(600)
"""
    series = tiny.spec.series
    series.write_text(
        f"{series.read_text()}\n"
        "if sys.argv[1] == 'apply':\n"
        f"    (pathlib.Path(sys.argv[2]) / 'tiny.py').write_text({endless!r})\n"
    )
    with installing_elsewhere(tiny, tmp_path) as other:
        (tiny.folder / "go").touch()
        wait_for(lambda: pid_file.exists() and pid_file.read_text())
        importing = int(pid_file.read_text())
        assert not _has_ended(importing)

        other.kill()

        wait_for(lambda: _has_ended(importing))


def _has_ended(pid: int) -> bool:
    process = read_process(pid)
    return process is None or process.state == "Z"


@contextlib.contextmanager
def installing_elsewhere(
    tiny: Tiny, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start an installation in another process; it waits, half way, for ``go``."""
    series = tiny.spec.series
    series.write_text(
        "import pathlib, sys, time\n"
        "go = pathlib.Path(__file__).with_name('go')\n"
        "while sys.argv[1] == 'apply' and not go.exists(): time.sleep(0.01)\n"
        + series.read_text()
    )
    command = [sys.executable, str(_TESTS / "install_tiny.py"), str(tiny.folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as other:
        try:
            wait_for(lambda: [*(tmp_path / "data").rglob("tiny.py")])
            yield other
        finally:
            other.kill()
            (tiny.folder / "go").touch()


def test_a_removed_engine_is_gone(tiny: Tiny, tmp_path: Path) -> None:
    made = install_engine(tiny.spec, quiet)

    remove_engine(made.id, quiet)

    assert find_engine(tiny.spec) is None
    assert folders(tmp_path) == []


def test_an_engine_on_which_something_runs_is_not_removed_until_that_has_stopped(
    tiny: Tiny, tmp_path: Path
) -> None:
    made = install_engine(tiny.spec, quiet)
    with running(detached=True, engine=made.id) as (_, instance):
        with pytest.raises(EngineError, match=f"`{made.id}` is in use") as caught:
            remove_engine(made.id, quiet)

        assert instance.id in caught.value.evidence[0]
        assert caught.value.fix.endswith(f"`nvfp4-serve stop {instance.id}`.")
        assert find_engine(tiny.spec) == made

    remove_engine(made.id, quiet)

    assert folders(tmp_path) == []


@pytest.mark.parametrize("name", ["none", "..", "../elsewhere", ""])
def test_only_an_engine_can_be_removed(tiny: Tiny, tmp_path: Path, name: str) -> None:
    install_engine(tiny.spec, quiet)
    (tmp_path / "data" / "nvfp4-serve" / "elsewhere").mkdir()

    with pytest.raises(EngineError, match="There is no engine"):
        remove_engine(name, quiet)

    assert len(list_engines()) == 1


def test_a_damaged_manifest_is_said_so(tiny: Tiny) -> None:
    made = install_engine(tiny.spec, quiet)
    (made.folder / "engine.json").write_text("{}")

    with pytest.raises(EngineError, match="does not describe an engine") as caught:
        find_engine(tiny.spec)

    assert f"engine remove {made.id}" in caught.value.fix


def test_what_is_in_use_is_kept_from_being_removed_and_shared_by_all_its_users(
    tiny: Tiny,
) -> None:
    made = install_engine(tiny.spec, quiet)
    lock = lock_of(made.folder.parent, made.id)

    with in_use(made), in_use(made), exclusive_or_not(lock) as could_be_removed:
        assert not could_be_removed

    with exclusive_or_not(lock) as could_be_removed:
        assert could_be_removed
