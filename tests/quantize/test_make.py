"""OUT appears whole and right, or not at all; a stand-in plays the quantizer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoint.builders import modelopt_moe, write_checkpoint
from nvfp4_serve.errors import QuantizeError
from nvfp4_serve.quantize.make import make_checkpoint
from nvfp4_serve.runtime.proc import read_process
from quantize.worlds import (
    DONE,
    HELLO,
    MARK,
    MEANT,
    STAND_IN,
    meant_line,
    set_stand_in,
    wish_of,
)
from stand_in import quiet
from waiting import wait_for


def left(tmp_path: Path) -> list[str]:
    """Return what of OUT and its partial folder is there."""
    return sorted(path.name for path in tmp_path.glob("out*"))


def test_a_right_checkpoint_gets_its_name_and_nothing_else_is_left(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    phase = '{"event": "phase", "name": "exporting"}'
    set_stand_in(monkeypatch, good, HELLO, phase, meant_line(), DONE)

    layout = make_checkpoint(wish_of(tmp_path), STAND_IN, said.append)

    assert left(tmp_path) == ["out"]
    assert layout.model == str(tmp_path / "out")
    assert layout.layout == "modelopt-per-expert"
    assert any("exporting" in line for line in said)
    assert f"all {len(MEANT)} modules" in said[-1]


def test_success_in_bfloat16_is_a_failure_without_an_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {
        f"{name}.weight": ("BF16", (96, 96)) for name in MEANT if ".experts." in name
    }
    rest = {k: v for k, v in modelopt_moe().items() if ".experts." not in k}
    bad = write_checkpoint(tmp_path / "bad", {**rest, **plain})
    set_stand_in(monkeypatch, bad, HELLO, meant_line(), DONE)

    with pytest.raises(QuantizeError, match="without an error") as caught:
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert "experts.*.gate_proj: 0 of 3 packed" in "\n".join(caught.value.evidence)
    assert "out.partial" in caught.value.fix
    assert left(tmp_path) == ["out.partial"]
    assert not (tmp_path / "out.partial" / "config.json").exists()


def test_a_failed_quantizer_leaves_its_log_and_no_checkpoint(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = '{"event": "failed", "problem": "No such class.", "fix": "Name another."}'
    set_stand_in(monkeypatch, good, HELLO, failed)

    with pytest.raises(QuantizeError, match="No such class") as caught:
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert caught.value.fix == "Name another."
    kept = tmp_path / "out.partial"
    assert sorted(p.name for p in kept.iterdir()) == [MARK, "quantizer.log"]
    assert "words of a library" in (kept / "quantizer.log").read_text()


@pytest.mark.parametrize("then", ["end", "die"])
def test_a_quantizer_without_a_last_word_has_failed(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    set_stand_in(monkeypatch, good, HELLO, meant_line(), then=then)

    with pytest.raises(QuantizeError, match="ended without a word"):
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line", ["not JSON", '{"no": "event"}', '{"event": "hello", "protocol": 2}']
)
def test_words_of_another_protocol_are_refused(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    set_stand_in(monkeypatch, good, line, meant_line(), DONE, then="wait")

    with pytest.raises(QuantizeError, match="nobody understands"):
        make_checkpoint(wish_of(tmp_path), STAND_IN, quiet)


def test_what_an_earlier_run_left_is_cleared_away_first(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "out.partial" / "checkpoint"
    half.mkdir(parents=True)
    (half.parent / MARK).touch()
    (half / "model.safetensors").write_bytes(b"half")
    (half.parent / "quantizer.log").write_text("old")
    said: list[str] = []
    set_stand_in(monkeypatch, good, HELLO, meant_line(), DONE)

    make_checkpoint(wish_of(tmp_path), STAND_IN, said.append)

    assert "clearing away" in said[0]
    assert left(tmp_path) == ["out"]


_RUN = """
import signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from nvfp4_serve.quantize.make import make_checkpoint
from quantize.worlds import STAND_IN, wish_of
def say(line):
    print(line, flush=True)
make_checkpoint(wish_of(Path(sys.argv[1])), STAND_IN, say)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_and_no_out_appears_when_it_is_stopped(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    waits = '{"event": "phase", "name": "waiting"}'
    set_stand_in(monkeypatch, good, HELLO, waits, then="wait")
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", _RUN, str(tmp_path), tests]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert "waiting" in launcher.stdout.readline()
        workers = _children(launcher.pid)
        os.kill(launcher.pid, number)
        launcher.wait(timeout=20)

    assert len(workers) == 1
    wait_for(lambda: read_process(workers[0]) is None)
    assert not (tmp_path / "out").exists()
    if number == signal.SIGINT:
        assert left(tmp_path) == []


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
