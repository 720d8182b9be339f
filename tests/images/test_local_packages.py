import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local_packages import handed_over, pip_settings


def test_a_variable_wins_over_a_file_and_other_settings_are_left_out() -> None:
    lines = [
        ":env:.find-links='/from/variable'",
        ":env:.disable-pip-version-check='1'",
        "global.find-links='/from/file'",
        "global.index-url='https://general.example/simple'",
        "install.index-url='https://command.example/simple'",
        "global.timeout='60'",
    ]

    found = pip_settings(lines)

    assert found == {
        "find-links": "/from/variable",
        "index-url": "https://command.example/simple",
        "timeout": "60",
    }


#: The real pip downloads.
pytestmark = pytest.mark.slow


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that pip is told to look into, by a variable alone."""
    for name in ("wheels", "files"):
        (tmp_path / name).mkdir()
    made: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
    ]
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "only-here"\nversion = "1"\n'
        '[tool.hatch.build.targets.wheel]\nonly-include = ["pyproject.toml"]\n'
    )
    built = [*made, "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", project]
    subprocess.run(built, check=True)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path


def test_a_folder_of_packages_is_served_to_the_build(index: Path) -> None:
    with handed_over(index / "files") as secrets:
        text = secrets["pip"].read_text()
        looked = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--no-index", "--quiet"),
                *("--dest", index / "found", "only-here"),
            ],
            env={"PATH": "/usr/bin", "PIP_CONFIG_FILE": str(secrets["pip"])},
            check=False,
        )

    assert re.search(r"find-links = http://127\.0\.0\.1:\d+/wheels/\n", text)
    assert looked.returncode == 0
    assert [p.name for p in (index / "found").iterdir()] == [
        "only_here-1-py2.py3-none-any.whl"
    ]


def test_the_settings_are_for_nobody_else_to_read(index: Path) -> None:
    with handed_over(index / "files") as secrets:
        mode = stat.S_IMODE(secrets["pip"].stat().st_mode)

    assert mode == 0o600


def test_where_pip_is_told_nothing_nothing_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIND_LINKS", "CERT", "INDEX_URL", "EXTRA_INDEX_URL", "PROXY"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.delenv("PIP_DEFAULT_TIMEOUT", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    with handed_over(tmp_path) as secrets:
        assert secrets == {}
    assert list(tmp_path.iterdir()) == []
