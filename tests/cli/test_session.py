import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvfp4_serve.errors import ExitCode
from nvfp4_serve.runtime.instances import list_instances
from nvfp4_serve.runtime.local import LocalRuntime
from nvfp4_serve.runtime.proc import read_members, read_process
from nvfp4_serve.runtime.types import Instance
from stand_in import free_port, never, quiet
from waiting import wait_for

_TESTS = Path(__file__).parents[1]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Launcher:
    """A launcher that serves the stand-in, in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    def instance(self) -> Instance:
        wait_for(list_instances)
        return list_instances()[0]

    def out(self) -> str:
        return self._out.read_text()

    def said(self) -> str:
        return self._err.read_text()

    def wait_until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said())


@contextmanager
def launching(
    tmp_path: Path, *arguments: str, under: tuple[str, ...] = ()
) -> Iterator[Launcher]:
    out, err = tmp_path / "out", tmp_path / "err"
    command = [sys.executable, str(_TESTS / "serve_stand_in.py"), str(free_port())]
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        subprocess.Popen(
            [*under, *command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        ) as process,
    ):
        try:
            yield Launcher(process, out, err)
        finally:
            process.kill()


def test_a_right_engine_gives_its_address_and_a_question_to_try(tmp_path: Path) -> None:
    with launching(tmp_path) as launcher:
        launcher.wait_until_said("Ctrl-C stops it")
        url, curl = launcher.out().splitlines()

        assert url == launcher.instance().url
        answer = subprocess.run(
            ["bash", "-c", curl], capture_output=True, text=True, check=True
        )

        assert '"text": " babble' in answer.stdout


def test_the_key_that_is_given_to_the_engine_is_shown_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame")

    with launching(tmp_path, "wants-key") as launcher:
        launcher.wait_until_said("Ctrl-C stops it")

        assert '-H "Authorization: Bearer $VLLM_API_KEY"' in launcher.out()
        assert "sesame" not in launcher.out() + launcher.said()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_engine_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with launching(tmp_path) as launcher:
        launcher.wait_until_said("Ctrl-C stops it")
        engine = launcher.instance().pid

        launcher.process.send_signal(number)

        assert launcher.process.wait(20) == ExitCode.INTERRUPTED
        assert read_members(engine) == ()
        assert launcher.said().endswith(
            "stopping the engine; Ctrl-C again stops it at once\n"
            "the engine is stopped; nothing is left running\n"
        )


def test_under_nohup_the_end_of_the_login_does_not_reach_the_launcher(
    tmp_path: Path,
) -> None:
    with launching(tmp_path, under=("nohup",)) as launcher:
        launcher.wait_until_said("Ctrl-C stops it")
        engine = launcher.instance().pid

        # The kernel drops an ignored signal as it is sent: no need to wait for it.
        assert _ignored(launcher.process.pid) & {*SIGNALS} == {signal.SIGHUP}

        launcher.process.terminate()

        assert launcher.process.wait(20) == ExitCode.INTERRUPTED
        assert read_members(engine) == ()


def _ignored(pid: int) -> set[int]:
    """Return the signals that the process ``pid`` ignores."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return {bit + 1 for bit in range(64) if int(mask, 16) >> bit & 1}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_engine_loads_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with launching(tmp_path, "never-listens") as launcher:
        launcher.wait_until_said("the architecture is")
        engine = launcher.instance().pid

        launcher.process.send_signal(number)

        assert launcher.process.wait(20) == ExitCode.INTERRUPTED
        assert read_members(engine) == ()


def test_a_second_signal_ends_an_engine_that_does_not_heed_the_first(
    tmp_path: Path,
) -> None:
    with launching(tmp_path, "deaf", "grandchild") as launcher:
        launcher.wait_until_said("Ctrl-C stops it")
        engine = launcher.instance().pid
        launcher.process.send_signal(signal.SIGINT)
        launcher.wait_until_said("Ctrl-C again")
        assert len(read_members(engine)) == 2

        launcher.process.send_signal(signal.SIGINT)

        assert launcher.process.wait(20) == ExitCode.INTERRUPTED
        assert read_members(engine) == ()


def test_a_terminal_that_is_closed_does_not_keep_the_engine_alive(
    tmp_path: Path,
) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, str(_TESTS / "serve_stand_in.py"), str(free_port())]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - one thread
    ) as process:
        os.close(theirs)
        wait_for(list_instances)
        engine = list_instances()[0].pid
        read = b""
        while b"Ctrl-C stops it" not in read:
            read += os.read(ours, 4096)

        os.close(ours)  # The kernel sends SIGHUP, and every write fails from now on.

        assert process.wait(20) == ExitCode.INTERRUPTED
    assert read_members(engine) == ()
    assert tmp_path.exists()


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize(
    ("behaviour", "code", "says"),
    [
        pytest.param("wrong", ExitCode.NOT_RIGHT, "canary wrong", id="wrong"),
        pytest.param("nan", ExitCode.NOT_RIGHT, "no numbers", id="nan"),
        pytest.param("crashes", ExitCode.ENGINE, "3 blocks of KV", id="crashes"),
        pytest.param("dies-when-asked", ExitCode.ENGINE, "signal 9", id="dies"),
    ],
)
def test_an_engine_that_is_not_right_is_stopped_and_its_exit_code_says_why(
    tmp_path: Path, behaviour: str, code: ExitCode, says: str
) -> None:
    with launching(tmp_path, behaviour, "grandchild") as launcher:
        engine = launcher.instance().pid

        assert launcher.process.wait(30) == code
        assert read_members(engine) == ()
        assert says in launcher.said()
        assert launcher.said().count("error: ") == 1
        assert launcher.out() == ""


def test_an_engine_that_is_killed_while_it_serves_is_reported_at_once(
    tmp_path: Path,
) -> None:
    with launching(tmp_path, "grandchild") as launcher:
        launcher.wait_until_said("Ctrl-C stops it")
        engine = launcher.instance().pid

        os.kill(engine, signal.SIGKILL)

        assert launcher.process.wait(20) == ExitCode.ENGINE
        assert "error: The engine was killed by signal 9 (SIGKILL)." in launcher.said()
        assert read_members(engine) == ()


def test_a_launcher_that_is_killed_takes_the_engine_with_it(tmp_path: Path) -> None:
    with launching(tmp_path) as launcher:
        launcher.wait_until_said("Ctrl-C stops it")
        engine = launcher.instance().pid

        launcher.process.kill()

        wait_for(lambda: not read_members(engine))


def test_a_detached_engine_stays_until_it_is_stopped(tmp_path: Path) -> None:
    with launching(tmp_path, "--detach") as launcher:
        assert launcher.process.wait(20) == ExitCode.OK
        instance = launcher.instance()

        assert f"`nvfp4-serve stop {instance.id}` stops it" in launcher.said()
        assert read_process(instance.pid) is not None

        LocalRuntime((), quiet).stop(instance, hurry=never)

        assert read_members(instance.pid) == ()


def test_a_detached_engine_that_is_interrupted_before_it_is_right_is_not_left(
    tmp_path: Path,
) -> None:
    with launching(tmp_path, "--detach", "never-healthy") as launcher:
        launcher.wait_until_said("the server answers")
        engine = launcher.instance().pid

        launcher.process.send_signal(signal.SIGTERM)

        assert launcher.process.wait(20) == ExitCode.INTERRUPTED
        assert read_members(engine) == ()
