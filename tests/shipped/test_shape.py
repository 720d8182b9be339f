"""The house's own rules, held over every file of it."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in ("launcher", "patches", "benchmarks", "examples")
    for path in (TOP / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TOP)))
def test_a_module_stays_under_three_hundred_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize(
    "path", sorted((TOP / "requirements").glob("*")), ids=lambda path: path.name
)
def test_no_requirements_file_names_a_host(path: Path) -> None:
    assert not re.search(
        r"https?://|--(extra-)?index-url|--find-links", path.read_text()
    )


@pytest.mark.parametrize(
    "path", sorted((TOP / "requirements").glob("*.txt")), ids=lambda path: path.name
)
def test_every_requirement_is_pinned(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if re.match(r"[a-z]", line)]

    assert lines
    assert all("==" in line.partition(";")[0] for line in lines)
