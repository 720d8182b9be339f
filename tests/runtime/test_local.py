import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.instances import list_instances
from nvfp4_serve.runtime.local import LocalRuntime, engine_environment
from nvfp4_serve.runtime.proc import read_members, read_process
from nvfp4_serve.runtime.types import Instance
from stand_in import COMMAND, free_port, never, plan_of, quiet, running
from waiting import wait_for


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def wait_for_log(instance: Instance, text: str) -> None:
    wait_for(lambda: text in instance.log.read_text())


def test_a_started_engine_is_a_session_of_its_own_and_on_record() -> None:
    with running() as (_, instance):
        first = read_process(instance.pid)

        assert first is not None
        assert first.session == instance.pid != os.getsid(0)
        assert first.born == instance.born
        assert list_instances() == (instance,)


def test_stopping_leaves_no_process_and_no_record() -> None:
    with running() as (runtime, instance):
        wait_for_log(instance, "startup complete")

        runtime.stop(instance, hurry=never)

        assert read_members(instance.pid) == ()
        assert list_instances() == ()
        assert instance.log.exists()


def test_stopping_ends_a_grandchild_that_ignores_sigterm_in_a_group_of_its_own() -> (
    None
):
    with running("grandchild") as (runtime, instance):
        wait_for_log(instance, "startup complete")
        assert len({os.getpgid(p.pid) for p in read_members(instance.pid)}) == 2

        runtime.stop(instance, hurry=never)

        assert read_members(instance.pid) == ()


def test_an_engine_that_ignores_sigterm_is_killed_at_once_when_there_is_a_hurry() -> (
    None
):
    with running("deaf") as (runtime, instance):
        runtime.grace = 600.0
        wait_for_log(instance, "startup complete")

        runtime.stop(instance, hurry=lambda: True)

        assert read_members(instance.pid) == ()


def test_stopping_an_engine_that_has_left_only_a_grandchild_ends_that() -> None:
    with running("grandchild") as (runtime, instance):
        wait_for_log(instance, "startup complete")
        os.kill(instance.pid, signal.SIGKILL)
        wait_for(lambda: runtime.ended(instance) is not None)

        runtime.stop(instance, hurry=never)

        assert read_members(instance.pid) == ()


def test_another_process_can_stop_an_engine_that_was_left_running() -> None:
    with running(detached=True) as (_, instance):
        wait_for_log(instance, "startup complete")

        LocalRuntime((), quiet).stop(list_instances()[0], hurry=never)

        assert read_members(instance.pid) == ()


def test_an_engine_that_was_killed_says_by_which_signal() -> None:
    with running() as (runtime, instance):
        assert runtime.ended(instance) is None
        os.kill(instance.pid, signal.SIGKILL)

        wait_for(lambda: runtime.ended(instance) is not None)

        ended = runtime.ended(instance)
        assert ended is not None
        assert ended.how == "was killed by signal 9 (SIGKILL)"
        assert not ended.out_of_memory


def test_an_engine_that_exits_says_its_status() -> None:
    with running("crashes") as (runtime, instance):
        wait_for(lambda: runtime.ended(instance) is not None)

        ended = runtime.ended(instance)

        assert ended is not None
        assert ended.how == "ended with status 1"


def test_an_engine_that_loses_its_core_has_ended_even_if_its_server_has_not() -> None:
    with running("core") as (runtime, instance):
        wait_for_log(instance, "startup complete")
        core = next(
            p for p in read_members(instance.pid) if p.name == "VLLM::EngineCor"
        )
        assert runtime.ended(instance) is None
        os.kill(core.pid, signal.SIGKILL)
        wait_for(lambda: _is_gone(core.pid))
        assert runtime.ended(instance) is None  # It may still say why.
        wait_for(lambda: runtime.ended(instance) is not None)

        ended = runtime.ended(instance)

        assert ended is not None
        assert ended.how.startswith(
            f"lost its process `VLLM::EngineCore` (pid {core.pid})"
        )


def _is_gone(pid: int) -> bool:
    process = read_process(pid)
    return process is None or process.state == "Z"


def test_a_port_in_use_is_found_before_the_engine_starts_and_names_who_has_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(EngineError) as caught:
            LocalRuntime(COMMAND, quiet).start(plan_of(port), detached=False)

    assert f"`127.0.0.1:{port}` is in use by" in caught.value.problem
    assert f"(pid {os.getpid()})" in caught.value.problem
    assert not list((tmp_path / "state").rglob("engine.log"))


def test_a_port_is_in_use_from_the_start_of_our_own_engine_not_from_its_first_answer(
    tmp_path: Path,
) -> None:
    with running("never-listens") as (runtime, instance):
        port = int(instance.url.rpartition(":")[2])

        with pytest.raises(EngineError, match=f"in use by the engine `{instance.id}`"):
            runtime.start(plan_of(port), detached=False)

    assert len(list((tmp_path / "state").rglob("engine.log"))) == 1


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    elsewhere = replace(plan_of(8000), bind="192.0.2.1:8000")

    with pytest.raises(EngineError, match="cannot be bound: Cannot assign") as caught:
        LocalRuntime(COMMAND, quiet).start(elsewhere, detached=False)

    assert "--host" in caught.value.fix


def test_a_command_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    runtime = LocalRuntime((str(tmp_path / "python"),), quiet)

    with pytest.raises(EngineError, match="No such file") as caught:
        runtime.start(plan_of(free_port()), detached=False)

    assert "engine install" in caught.value.fix
    assert list_instances() == ()


@pytest.mark.parametrize("place", ["/proc/nowhere", "file/inside-a-file"])
def test_a_place_where_no_record_can_be_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / place))

    with pytest.raises(EngineError, match="cannot be used") as caught:
        LocalRuntime(COMMAND, quiet).start(plan_of(free_port()), detached=False)

    assert f"{tmp_path / place}/nvfp4-serve/instances" in caught.value.fix
    assert "XDG_STATE_HOME" in caught.value.fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_without_room_for_the_record_leaves_no_engine_running(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    # Room for two folders, the lock, the instance's folder and its log: no record.
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "nr_inodes=6", "tmpfs", state], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here; run as root of the machine")
    runtime = LocalRuntime(COMMAND, quiet)
    try:
        with pytest.raises(EngineError, match="The disk is full") as caught:
            runtime.start(plan_of(free_port()), detached=True)

        assert "XDG_STATE_HOME" in caught.value.fix
        assert len(list(state.rglob("engine.log"))) == 1
        assert runtime._watches == {}
    finally:
        subprocess.run(["umount", state], check=True)


def test_the_engine_is_given_what_it_needs_and_nothing_else() -> None:
    ours = {"PATH": "/bin", "HF_TOKEN": "secret", "PYTHONPATH": "/x", "AWS_KEY": "y"}

    environment = engine_environment(plan_of(1, "right"), ours, detached=True)

    assert environment == {
        "PATH": "/bin",
        "HF_TOKEN": "secret",
        "PYTHONUNBUFFERED": "1",
        "STAND_IN": "right",
    }


def test_an_engine_in_the_foreground_ends_with_a_launcher_that_is_killed() -> None:
    code = (
        "import sys; from stand_in import *\n"
        "started = LocalRuntime(COMMAND, quiet).start(plan_of(free_port()),"
        " detached=sys.argv[1] == 'detached')\n"
        "print(started.pid, flush=True); sys.stdin.read()\n"
    )
    pids = {}
    for mode in ("foreground", "detached"):
        with subprocess.Popen(
            [sys.executable, "-c", code, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        ) as launcher:
            assert launcher.stdout is not None
            pids[mode] = int(launcher.stdout.readline())
            instance = next(i for i in list_instances() if i.pid == pids[mode])
            wait_for_log(instance, "startup complete")
            launcher.kill()

    wait_for(lambda: not read_members(pids["foreground"]))

    (left,) = list_instances()
    assert left.pid == pids["detached"]
    LocalRuntime((), quiet).stop(left, hurry=never)
