"""What the golden plans say is what is planned. `make golden` writes them again."""

import pytest

from plan.goldens import GOLDEN, golden, names


@pytest.mark.parametrize("name", names())
def test_the_plans_of_a_checkpoint_are_the_golden_ones(name: str) -> None:
    written = (GOLDEN / f"{name}.txt").read_text()

    assert golden(name) == written, "`make golden`, and review the difference"


def test_every_golden_file_is_one_that_is_written() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(names())
