import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.instances import (
    find_instance,
    list_instances,
    make_folder,
    write_record,
)
from nvfp4_serve.runtime.local import LocalRuntime
from nvfp4_serve.runtime.proc import read_boot, read_process
from nvfp4_serve.runtime.types import Instance
from stand_in import never, quiet, running
from stand_in_engine import NAME


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def record_of_this_process(**changes: object) -> Instance:
    """Write the record of an instance whose first process would be this one."""
    me = read_process(os.getpid())
    assert me is not None
    folder = make_folder("a model/of mine", 8000)
    instance = Instance(
        id=folder.name,
        name="a model",
        url="http://127.0.0.1:8000",
        pid=os.getpid(),
        born=me.born,
        boot=read_boot(),
        folder=folder,
        started="2026-11-21T00:00:00+00:00",
        detached=True,
    )
    instance = dataclasses.replace(instance, **changes)  # type: ignore[arg-type]
    write_record(instance)
    return instance


def test_the_name_of_a_folder_is_safe_whatever_the_name_of_the_model() -> None:
    names = [
        make_folder(name, 80).name for name in ("../../etc", "a/b c", "", "ä" * 99)
    ]

    assert names[0].startswith("etc-80-")
    assert names[1].startswith("a-b-c-80-")
    assert names[2].startswith("model-80-")
    assert names[3].startswith("model-80-")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"born": 1}, id="the-pid-is-somebody-elses-now"),
        pytest.param({"boot": "another"}, id="the-machine-was-started-again"),
        pytest.param({"pid": 1 << 22}, id="the-process-has-ended"),
    ],
)
def test_an_instance_that_has_ended_is_forgotten_and_its_pid_left_alone(
    change: dict[str, object],
) -> None:
    stale = record_of_this_process(**change)

    LocalRuntime((), quiet).stop(stale, hurry=never)

    assert list_instances() == ()
    assert not (stale.folder / "instance.json").exists()


def test_logs_of_engines_that_ended_long_ago_are_removed() -> None:
    stale = record_of_this_process(boot="another")
    stale.log.write_text("old")
    for path in (stale.log, stale.folder):
        os.utime(path, (0, 0))

    list_instances()  # Forgets the record, which touches the folder.
    os.utime(stale.folder, (0, 0))
    list_instances()

    assert not stale.folder.exists()


def test_the_lock_of_the_starts_stays_however_old_it_is() -> None:
    with running(detached=True) as (_, instance):
        lock = instance.folder.parent / ".lock"
        os.utime(lock, (0, 0))

        assert list_instances() == (instance,)
        assert lock.exists()


def test_two_that_remove_the_same_old_logs_do_not_stumble_over_each_other() -> None:
    stale = [record_of_this_process(boot="another") for _ in range(200)]
    list_instances()  # Forgets the records, which touches the folders.
    for instance in stale:
        instance.log.write_text("old")
        for path in (instance.log, instance.folder):
            os.utime(path, (0, 0))

    with ThreadPoolExecutor(4) as several:
        found = [several.submit(list_instances) for _ in range(4)]

    assert [future.result() for future in found] == [()] * 4
    assert not any(instance.folder.exists() for instance in stale)


def test_an_instance_is_found_by_id_by_model_by_port_and_when_it_is_the_only_one() -> (
    None
):
    with running() as (_, instance):
        port = int(instance.url.rpartition(":")[2])

        assert find_instance(list_instances(), instance.id, None) == instance
        assert find_instance(list_instances(), NAME, None) == instance
        assert find_instance(list_instances(), None, port) == instance
        assert find_instance(list_instances(), None, None) == instance


def test_a_name_that_several_answer_to_is_not_guessed_at() -> None:
    with running() as (_, one), running() as (_, other):
        with pytest.raises(EngineError, match="2 engines are running") as caught:
            find_instance(list_instances(), NAME, None)

        assert {line.split()[0] for line in caught.value.evidence} == {one.id, other.id}


def test_a_name_that_nobody_answers_to_is_an_error_that_lists_who_is_there() -> None:
    with running() as (_, instance):
        with pytest.raises(EngineError, match="by the name `x` on port 1") as caught:
            find_instance(list_instances(), "x", 1)

        assert instance.id in caught.value.evidence[0]


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"id": 1})])
def test_a_damaged_record_is_said_so(content: str) -> None:
    stale = record_of_this_process()
    (stale.folder / "instance.json").write_text(content)

    with pytest.raises(EngineError, match="does not describe an engine") as caught:
        list_instances()

    assert str(stale.folder) in caught.value.fix
