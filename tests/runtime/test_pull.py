from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.pull import PullProgress, check_architecture
from orders import IMAGE

MIB = 1 << 20


def lines(*events: Mapping[str, Any], seconds: float = 10.0) -> list[str]:
    """Return what is said of ``events`` that come ``seconds`` apart."""
    clock: Iterator[float] = iter(range(0, 1 << 20, int(seconds)))
    progress = PullProgress(lambda: next(clock))
    return [line for event in events if (line := progress.take(event))]


def event(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"id": name, "status": status, "progressDetail": detail}


def test_layers_bytes_speed_and_time_are_said() -> None:
    said = lines(
        event("a", "Pulling fs layer"),
        event("b", "Already exists"),
        event("a", "Downloading", 30 * MIB, 90 * MIB),
    )

    assert (
        said[-1] == "  1 of 2 layers, 30.0 MiB of 90.0 MiB, 1.0 MiB/s, 1 min 0 s left"
    )


def test_a_layer_that_is_unpacked_was_fetched_whole() -> None:
    said = lines(
        event("a", "Downloading", 10 * MIB, 90 * MIB),
        event("a", "Extracting", 5 * MIB, 90 * MIB),
    )

    assert "90.0 MiB of 90.0 MiB" in said[-1]


def test_nothing_is_said_more_often_than_a_person_can_read() -> None:
    events = [event("a", "Downloading", n * MIB, 90 * MIB) for n in range(60)]

    assert len(lines(*events, seconds=1.0)) == 12


def test_the_name_of_the_tag_is_no_layer() -> None:
    said = lines(
        {"id": "1", "status": "Pulling from me/x"}, event("a", "Pulling fs layer")
    )

    assert said[-1].startswith("  0 of 1 layers")


@pytest.mark.parametrize(
    ("architecture", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")]
)
def test_an_image_for_this_machine_is_taken(architecture: str, machine: str) -> None:
    check_architecture(replace(IMAGE, architecture=architecture), machine)


def test_an_image_for_another_machine_is_named() -> None:
    with pytest.raises(EngineError, match="is for linux/amd64; this machine is"):
        check_architecture(IMAGE, "aarch64")


@pytest.mark.parametrize(
    ("ref", "digests", "exact"),
    [
        ("h:5000/a/b:1", ("h:5000/a/b@sha256:1",), "h:5000/a/b@sha256:1"),
        ("a/b", ("c/d@sha256:2", "a/b@sha256:1"), "a/b@sha256:1"),
        ("a/b:1", ("c/d@sha256:2",), "c/d@sha256:2"),
        ("a/b:1", (), IMAGE.id),
    ],
)
def test_an_image_is_named_so_that_it_can_mean_no_other(
    ref: str, digests: tuple[str, ...], exact: str
) -> None:
    assert replace(IMAGE, ref=ref, digests=digests).exact == exact
