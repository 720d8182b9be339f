"""What the tests of twins share: one engine for all of them, and fresh exports."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from engines import engine_python
from twins.bench import Bench
from twins.producer import Twin, make_twins
from twins.specimens import FRESH_TWINS


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    log = tmp_path_factory.mktemp("engine") / "worker.log"
    with Bench(engine_python(), log) as bench:
        yield bench


@pytest.fixture(scope="session")
def fresh_twins() -> Mapping[Twin, Path]:
    return make_twins(FRESH_TWINS)
