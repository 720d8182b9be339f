"""The Dockerfiles as text: what a linter says, and what must never stand in one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "images").glob("*.Dockerfile"))
TEXTS = [*FILES, ROOT / "images" / "docker-bake.hcl"]
_each = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)


def instructions(file: Path) -> str:
    """Return ``file`` without comments, an instruction a line."""
    lines = [line for line in file.read_text().splitlines() if line[:1] != "#"]
    return "\n".join(lines).replace("\\\n", " ")


def test_every_image_of_the_family_has_its_file() -> None:
    names = {path.name for path in FILES}

    assert names == {
        f"{name}.Dockerfile" for name in ("cpu", "base", "gb10", "b300", "rtx-pro")
    }


@_each
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"

    done = subprocess.run(
        [hadolint, "--no-color", file], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


@_each
@pytest.mark.parametrize(
    "never",
    [
        pytest.param(r"\|\|\s*true", id="a-failure-that-is-hidden"),
        pytest.param(r"\b(curl|wget)\b", id="a-program-from-the-network"),
        pytest.param(r"--mount=type=secret[^ ]*target=/etc", id="a-secret-that-stays"),
        pytest.param(r"^FROM (?!\$\{|system)", id="a-base-that-is-no-pin"),
        pytest.param(r"^(ENV|ARG) \w*(TOKEN|KEY|PASSWORD)", id="a-secret-in-the-image"),
        pytest.param(r"pip install(?!.*(--require-hashes|--no-index))", id="unpinned"),
        pytest.param(r"^USER 0\Z", id="root"),
    ],
)
def test_what_must_not_be_in_a_dockerfile_is_not(file: Path, never: str) -> None:
    assert not re.search(never, instructions(file), re.MULTILINE)


@_each
def test_no_frontend_is_fetched(file: Path) -> None:
    assert "syntax=" not in file.read_text()


@pytest.mark.parametrize("file", TEXTS, ids=lambda path: path.stem)
def test_digests_stand_in_the_pins_alone(file: Path) -> None:
    assert not re.search(r"[0-9a-f]{64}", file.read_text())


@_each
def test_an_image_ends_as_nobody_in_particular(file: Path) -> None:
    users = re.findall(r"^USER (\S+)", instructions(file), re.MULTILINE)

    assert users[-1] == "1000:0"


def test_both_kinds_of_image_are_started_and_watched_alike() -> None:
    kinds = ("EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD", "USER 1000", "WORKDIR", "ENV")
    cpu, gpu = (
        [
            line
            for line in instructions(
                ROOT / "images" / f"{name}.Dockerfile"
            ).splitlines()
            if line.startswith(kinds)
        ]
        for name in ("cpu", "base")
    )

    assert cpu == gpu
    assert len(cpu) == len(kinds)
