"""What has to be fetched from the Hub, and whether its disk holds it."""

from typing import Any

import pytest

from hosts import cpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.units import GIB

OF_THE_HUB: dict[str, Any] = {
    "folder": None,
    "model": "acme/Q-NVFP4",
    "revision": "0" * 40,
}


def plan(*, free: int | None, downloaded: int = 0, **changes: object) -> Plan:
    host = cpu_host(hub_free=free)
    asked = Request(downloaded=downloaded)
    return make_plan(layout(**changes), host, asked, knowledge())


def test_a_plan_says_what_is_still_to_be_fetched() -> None:
    made = plan(free=20 * GIB, downloaded=5 * GIB, **OF_THE_HUB)

    assert made.download == 12 * GIB


def test_a_folder_is_not_fetched_however_full_the_disk_is() -> None:
    assert plan(free=0).download == 0


def test_a_disk_that_is_too_small_is_refused_with_the_sum() -> None:
    with pytest.raises(
        DoesNotFitError, match="the disk that the Hub's cache"
    ) as caught:
        plan(free=10 * GIB, downloaded=2 * GIB, **OF_THE_HUB)

    assert caught.value.evidence[-1] == "missing      5.0 GiB"


def test_what_is_there_already_needs_no_room() -> None:
    assert plan(free=1 * GIB, downloaded=16 * GIB, **OF_THE_HUB).download == 1 * GIB


def test_a_disk_that_is_not_known_stops_nothing() -> None:
    assert plan(free=None, **OF_THE_HUB).download == 17 * GIB
